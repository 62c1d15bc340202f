//! The ports of the test issuers.

use std::{
    collections::BTreeSet,
    io,
    net::TcpListener,
    sync::{Mutex, PoisonError},
};

/// The ports of all issuers of this process.
static USED: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// The number of ports after which one is used again. Then most of the free ports are used.
const MAX_TRIES: usize = 100;

/// Listens on a port that no earlier issuer of this process had. The port is a part of the name of the issuer, and revocations are
/// kept by this name: those of an earlier test would apply to the tokens of a later one.
pub(super) fn listen(bind: impl Fn() -> io::Result<TcpListener>) -> io::Result<TcpListener> {
    // Kept until the end, so that the system returns another one.
    let mut others = Vec::new();
    loop {
        let listener = bind()?;
        let is_new =
            USED.lock().unwrap_or_else(PoisonError::into_inner).insert(listener.local_addr()?.port());
        if is_new || others.len() >= MAX_TRIES {
            return Ok(listener);
        }
        others.push(listener);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_port_is_not_used_twice() {
        let any = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let first = listen(any).unwrap();
        let port = first.local_addr().unwrap().port();
        drop(first);
        // The system returns the same port once more, as it may after the end of a test.
        let again = || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).or_else(|_| any());
        assert_ne!(listen(again).unwrap().local_addr().unwrap().port(), port);
    }
}
