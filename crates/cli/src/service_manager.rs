//! What a node says to the service manager that started it: a service of systemd with `Type=notify`.

use std::net::SocketAddr;

use sd_notify::NotifyState;

/// Says that the node listens.
pub(crate) fn ready(address: SocketAddr) {
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {address}"))]);
}

/// Says that the node closes its streams and exits.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Sends states to the socket `NOTIFY_SOCKET`; without the variable, does nothing.
fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}
