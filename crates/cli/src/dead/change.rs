//! Requeues and drops entries, one by one.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use fanfare_api::dead_letters::{Dropped, Requeued};
use fanfare_client::Error;
use fanfare_protocol::Position;
use serde::Serialize;

use crate::call::Call;
use crate::display::visible;

/// Moves entries back to the intake, in this order.
pub(super) async fn requeue(call: &Call, ids: &[Position]) -> anyhow::Result<ExitCode> {
    let mut outcome = ExitCode::SUCCESS;
    for id in ids {
        let requeued = call.client.requeue_dead(*id).await;
        let text = |Requeued { id, entry }: &Requeued| format!("{id} is requeued as {entry}");
        report(call, (*id, "requeued"), requeued, text, &mut outcome)?;
    }
    Ok(outcome)
}

/// Removes entries.
pub(super) async fn drop(call: &Call, ids: &[Position]) -> anyhow::Result<ExitCode> {
    let mut outcome = ExitCode::SUCCESS;
    for id in ids {
        let dropped = call.client.drop_dead(*id).await;
        report(call, (*id, "dropped"), dropped, |Dropped { id }| format!("{id} is dropped"), &mut outcome)?;
    }
    Ok(outcome)
}

/// Prints the result of one entry. An entry that the server refuses does not affect the others.
fn report<T: Serialize>(
    call: &Call,
    (id, done): (Position, impl fmt::Display),
    result: Result<T, Error>,
    text: impl Fn(&T) -> String,
    outcome: &mut ExitCode,
) -> anyhow::Result<()> {
    match result {
        Ok(changed) => call.print(changed, |out, changed| writeln!(out, "{}", visible(&text(&changed))))?,
        Err(Error::Problem(problem)) if problem.status < 500 => {
            eprintln!("fanfare: {id} is not {done}: {}", visible(&problem.to_string()));
            *outcome = ExitCode::FAILURE;
        }
        Err(error) if error.may_be_carried_out() => {
            let context = format!("{id} may be {done} or not, and later entries are not");
            return Err(anyhow::Error::from(error).context(context));
        }
        Err(error) => {
            let context = format!("{id} and later entries are not {done}");
            return Err(anyhow::Error::from(error).context(context));
        }
    }
    Ok(())
}
