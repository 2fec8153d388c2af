//! Faults caused by a command of the operator: for containers, Kubernetes, or any other environment.

use std::process::Stdio;

use anyhow::Context;
use tokio::process::Command;

use crate::scenario::{Action, FaultInjector, FaultTarget};

/// Runs a shell command for each action. In it, `{verb}` is a [`Verb`](crate::scenario::Verb) in lower case, and
/// `{who}` the node's name or `redis`. The command must exit with 0 when the action is complete.
#[derive(Clone, Debug)]
pub struct Control {
    /// The command; none when only scenarios without faults are run.
    pub command: Option<String>,
    /// The nodes' names.
    pub nodes: Vec<String>,
}

impl Control {
    fn text(&self, action: Action) -> anyhow::Result<String> {
        let who = match action.who {
            FaultTarget::Redis => "redis",
            FaultTarget::Node(node) => self.nodes.get(node).context("--nodes names fewer nodes")?,
        };
        let command = self.command.as_ref().context("this scenario needs --control")?;
        Ok(command.replace("{verb}", &action.verb.to_string()).replace("{who}", who))
    }
}

impl FaultInjector for Control {
    async fn act(&mut self, action: Action) -> anyhow::Result<()> {
        let text = self.text(action)?;
        let mut command = Command::new("sh");
        command.arg("-c").arg(&text).stdin(Stdio::null()).kill_on_drop(true);
        // What the command prints is not the report.
        let output = command.output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{text:?} ended with {}: {}", output.status, said.trim());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Verb;

    #[tokio::test]
    async fn a_command_is_run_for_each_action_and_must_succeed() {
        let stop = Action { verb: Verb::Stop, who: FaultTarget::Node(1) };
        let mut control = Control {
            command: Some("test '{verb} {who}' = 'stop b'".into()),
            nodes: vec!["a".into(), "b".into()],
        };
        control.act(stop).await.unwrap();
        let wrong = control.act(Action { verb: Verb::Start, who: FaultTarget::Redis }).await.unwrap_err();
        assert!(wrong.to_string().contains("start redis"), "{wrong}");
        assert!(control.act(Action { who: FaultTarget::Node(2), ..stop }).await.is_err());
        control.command = None;
        assert!(control.act(stop).await.is_err());
    }
}
