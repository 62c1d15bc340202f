//! A network between a replica of the API and Redis, which can be slow or cut.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "the benchmark `fleet` uses this too, and other parts of it"
)]

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

#[derive(Clone, Default)]
pub(crate) struct Network {
    /// The delay of each direction in milliseconds.
    delay: Arc<AtomicU64>,
    is_cut: Arc<AtomicBool>,
}

impl Network {
    pub(crate) fn set_delay(&self, milliseconds: u64) {
        self.delay.store(milliseconds, Ordering::Relaxed);
    }

    /// While the network is cut, packets are lost. A connection of that time is never closed, and stays silent afterwards.
    pub(crate) fn set_cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::Relaxed);
    }

    /// Returns the port of a proxy to this server.
    pub(crate) fn proxy(&self, server: u16) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let network = self.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { continue };
                let is_silent = Arc::new(AtomicBool::new(network.is_cut.load(Ordering::Relaxed)));
                for (from, to) in [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server.try_clone().unwrap(), client.try_clone().unwrap()),
                ] {
                    let (network, is_silent) = (network.clone(), Arc::clone(&is_silent));
                    thread::spawn(move || network.forward(from, to, &is_silent));
                }
            }
        });
        port
    }

    fn forward(&self, mut from: TcpStream, mut to: TcpStream, is_silent: &AtomicBool) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            thread::sleep(Duration::from_millis(self.delay.load(Ordering::Relaxed)));
            if self.is_cut.load(Ordering::Relaxed) {
                is_silent.store(true, Ordering::Relaxed);
            }
            let packet = buffer.get(..read).unwrap_or_default();
            if !is_silent.load(Ordering::Relaxed) && to.write_all(packet).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }
}
