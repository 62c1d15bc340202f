//! Processes that end with this one, also if it is killed.
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each example uses a part of it")]

use std::{
    ffi::OsStr,
    process::{Child, Command, Stdio},
};

/// The program takes the place of the shell, so its process id is that of the child. Another shell waits for the end of the pipe
/// that is its input, which the system closes when the parent ends, and stops the program.
const WATCH: &str =
    r#"exec 3<&0 </dev/null; (cat <&3; kill -9 "$$") >/dev/null 2>&1 & exec 3<&-; exec "$0" "$@""#;

/// Returns a command for this program. Its input is used for its end.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", WATCH]).arg(program).stdin(Stdio::piped());
    command
}

/// A process that is stopped when this is dropped.
pub struct ChildProcess(pub Child);

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Fails only if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a Redis that stores nothing on disk. It may not listen yet.
pub fn start_redis(port: u16) -> Result<ChildProcess, String> {
    let missing = |error| format!("cannot start redis-server: {error}; `apt-get install redis-server`");
    Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().map_err(missing)?;
    let arguments = format!("--bind 127.0.0.1 --port {port} --appendonly no --daemonize no");
    let mut redis = command("redis-server");
    redis.args(arguments.split(' ')).args(["--save", ""]).stdout(Stdio::null());
    redis.spawn().map(ChildProcess).map_err(missing)
}
