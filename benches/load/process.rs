//! A server in a child process, and its CPU time.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use actix_protect_api::test::TestIssuer;

use crate::child::{self, ChildProcess};

/// Ends with its handle.
pub(crate) struct Server {
    child: ChildProcess,
    pub(crate) port: u16,
}

impl Server {
    /// Starts this program again as a server on core 0, and waits until it listens.
    pub(crate) fn start(kind: &str, issuer: &TestIssuer) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let program = std::env::current_exe().unwrap();
        let child = child::command("taskset")
            .args(["-c", "0"])
            .arg(program)
            .args(["serve", kind])
            .env("PORT", port.to_string())
            .env("ISSUER", issuer.issuer())
            .env("CLIENT_ID", issuer.client_id())
            .env("CLIENT_SECRET", issuer.client_secret())
            .env("AUDIENCE", issuer.audience())
            .stdout(Stdio::null())
            .spawn()
            .expect("a shell");
        let mut server = Self { child: ChildProcess(child), port };
        for _ in 0..500 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return server;
            }
            let has_ended = server.child.0.try_wait().unwrap().is_some();
            assert!(!has_ended, "the server {kind} stopped; `taskset` of util-linux is required");
            sleep(Duration::from_millis(20));
        }
        panic!("the server {kind} does not listen")
    }

    /// Time on the processor so far, of all threads (Linux; `taskset` has become the server itself).
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.0.id())).expect("Linux's /proc");
        let nanoseconds = tasks.map(|task| {
            let text = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0)
        });
        Duration::from_nanos(nanoseconds.sum())
    }
}

/// Moves the load and the issuer, which live in this process, to core 1.
pub(crate) fn leave_core_0() {
    let pid = std::process::id().to_string();
    let moved = Command::new("taskset").args(["-acp", "1", &pid]).stdout(Stdio::null()).status();
    if !moved.is_ok_and(|status| status.success()) {
        println!("not pinned: the load takes time from the servers");
    }
}
