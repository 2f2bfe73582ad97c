//! A node's or an artist's end.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Identity, Ticket, WireError};

/// A key, its certificate, the CA to trust and where the master is: what a
/// ticket is exchanged for. Kept in one file of mode 0600.
pub struct Credentials {
    _todo: (),
}

impl Credentials {
    /// Joins: pins the CA's fingerprint before anything secret is sent, makes a
    /// key that never leaves this machine and has the master certify it.
    ///
    /// # Errors
    /// No master at any address, another CA, or the ticket refused.
    pub async fn join(ticket: &Ticket, name: &str) -> Result<Self, WireError> {
        let _ = (ticket, name);
        todo!()
    }

    /// Reads a credentials file.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, WireError> {
        let _ = path;
        todo!()
    }

    /// Writes a credentials file, atomically, mode 0600.
    ///
    /// # Errors
    /// Names the file and the cause.
    pub fn save(&self, path: &Path) -> Result<(), WireError> {
        let _ = path;
        todo!()
    }

    /// Who these credentials make us.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        todo!()
    }
}

/// A connection to the master. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    _todo: (),
}

impl Client {
    /// Connects with mutual TLS.
    ///
    /// # Errors
    /// No master at any address, or either side refused the other.
    pub async fn connect(credentials: &Credentials) -> Result<Self, WireError> {
        let _ = credentials;
        todo!()
    }

    /// Opens a bidirectional stream of control priority.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn open_stream(&self) -> Result<(SendStream, RecvStream), WireError> {
        todo!()
    }

    /// Opens a unidirectional stream for a tile, below control in priority.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn open_tile(&self) -> Result<SendStream, WireError> {
        todo!()
    }

    /// Resolves when the connection ends, with the reason.
    pub async fn closed(&self) -> WireError {
        todo!()
    }

    /// Says goodbye and waits until the master heard it (bounded).
    pub async fn close(&self) {
        todo!()
    }
}

/// The sending half of a stream.
pub struct SendStream {
    _todo: (),
}

impl SendStream {
    /// Sends one length-delimited message.
    ///
    /// # Errors
    /// When the stream or connection is lost.
    pub async fn send<T: Serialize + Sync>(&mut self, message: &T) -> Result<(), WireError> {
        let _ = message;
        todo!()
    }

    /// Sends raw bytes after a message that announced their number.
    ///
    /// # Errors
    /// When the stream or connection is lost.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let _ = bytes;
        todo!()
    }

    /// Ends the stream and waits until the peer has everything.
    ///
    /// # Errors
    /// When the stream or connection is lost before.
    pub async fn finish(self) -> Result<(), WireError> {
        todo!()
    }
}

/// The receiving half of a stream.
pub struct RecvStream {
    _todo: (),
}

impl RecvStream {
    /// Receives one length-delimited message; `None` at the stream's end.
    ///
    /// # Errors
    /// Too long, malformed, or the connection is lost.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, WireError> {
        todo!()
    }

    /// Receives up to `buffer.len()` raw bytes; 0 at the stream's end.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn receive_bytes(&mut self, buffer: &mut [u8]) -> Result<usize, WireError> {
        let _ = buffer;
        todo!()
    }
}
