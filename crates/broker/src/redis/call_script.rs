//! Calls of scripts over a shared connection.

use ::redis::{Cmd, Value};

use super::error;
use super::script::Script;
use super::shared_connection::SharedConnection;
use crate::BrokerError;

impl SharedConnection {
    /// Calls a script once. An error reply is an error.
    pub(super) async fn call_script(&self, script: &Script, call: Cmd) -> Result<Value, BrokerError> {
        let reply = self.call_scripts(script, vec![call]).await?.pop();
        error::result(reply.ok_or_else(|| error::unexpected("one reply"))?)
    }

    /// Sends many calls at once, of a script or of other commands, and returns their replies, including error replies.
    ///
    /// Calls that fail because Redis does not know the script are repeated in order after it was loaded. Connections
    /// load all scripts when they connect, so this happens only after `SCRIPT FLUSH`. A flush within a pipeline makes
    /// all later calls fail, so calls keep their order, unless another client loads the script at that moment.
    pub(super) async fn call_scripts(
        &self,
        script: &Script,
        calls: Vec<Cmd>,
    ) -> Result<Vec<Value>, BrokerError> {
        let mut replies = self.commands(calls.clone()).await?;
        let missed: Vec<usize> = (0..replies.len()).filter(|&at| error::is_no_script(&replies[at])).collect();
        if missed.is_empty() {
            return Ok(replies);
        }
        let again = missed.iter().map(|&at| calls[at].clone());
        let answers = self.commands([script.load()].into_iter().chain(again).collect()).await?;
        // The first reply is that of the load.
        for (at, answer) in missed.into_iter().zip(answers.into_iter().skip(1)) {
            replies[at] = answer;
        }
        Ok(replies)
    }
}
