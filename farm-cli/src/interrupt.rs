//! Ctrl-C and termination signals.

use crate::output::Failure;

/// Resolves when the process is asked to stop, with how it then ends.
pub(crate) async fn interrupted() -> Failure {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            return tokio::select! {
                failure = ctrl_c() => failure,
                _ = terminate.recv() => Failure::signalled(15),
            };
        }
    }
    ctrl_c().await
}

/// Resolves on Ctrl-C; never where it cannot be listened for, so that it then
/// ends the process as it always did.
async fn ctrl_c() -> Failure {
    match tokio::signal::ctrl_c().await {
        Ok(()) => Failure::signalled(2),
        Err(_) => std::future::pending().await,
    }
}
