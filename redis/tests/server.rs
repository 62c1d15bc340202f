//! A Redis server on a free port of loopback, stopped when it is dropped, and when this process ends in another way.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use actix_protect_api_redis::RedisStore;
use redis::{Client, Connection, FromRedisValue};

/// `redis-server` takes the place of the shell, so its process id is that of the child. Another shell waits for the end of the
/// pipe that is its input, which the system closes when this process ends, and stops the server.
const WATCH: &str =
    r#"exec 3<&0 </dev/null; (cat <&3; kill -9 "$$") >/dev/null 2>&1 & exec 3<&-; exec redis-server "$@""#;

pub(crate) struct Server {
    port: u16,
    folder: PathBuf,
    /// The configuration file of a sentinel, which comes before the options.
    file: Vec<String>,
    options: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// Starts a server without persistence.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(options: &[&str]) -> Self {
        let mut all = vec!["--save", "", "--appendonly", "no"];
        all.extend(options);
        Self::launch(&[], &all)
    }

    /// Starts a sentinel that monitors `group`.
    pub(crate) fn sentinel(primary: u16) -> Self {
        let config = format!(
            "sentinel monitor group 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds group 1000\n\
             sentinel failover-timeout group 5000\n"
        );
        let folder = folder();
        let file = folder.join("sentinel.conf");
        fs::write(&file, config).unwrap();
        Self::launch(&[file.to_str().unwrap()], &["--sentinel"])
    }

    fn launch(file: &[&str], options: &[&str]) -> Self {
        let [file, options] =
            [file, options].map(|list| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        // Another process may take the port before the server does: then the next one is tried.
        for _ in 0..5 {
            let mut server = Self {
                port: free_port(),
                folder: folder(),
                file: file.clone(),
                options: options.clone(),
                child: None,
            };
            server.restart();
            if server.child.is_some() {
                return server;
            }
        }
        panic!("`redis-server` does not start; is it installed (apt-get install redis-server)?");
    }

    pub(crate) fn restart(&mut self) {
        let child = Command::new("sh")
            .args(["-c", WATCH, "sh"])
            .args(&self.file)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(&self.folder)
            .args(&self.options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        for _ in 0..300 {
            if Client::open(self.url()).unwrap().get_connection().is_ok() {
                return;
            }
            let child = self.child.as_mut().unwrap();
            if child.try_wait().unwrap().is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        self.stop();
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops the process without closing its connections.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn store(&self) -> RedisStore {
        RedisStore::open(&self.url()).unwrap()
    }

    fn connection(&self) -> Connection {
        Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    #[track_caller]
    pub(crate) fn query<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let (name, arguments) = command.split_first().unwrap();
        redis::cmd(name).arg(arguments).query(&mut self.connection()).unwrap()
    }

    /// Repeats a command until its response contains this text. An array is joined by line breaks.
    #[track_caller]
    pub(crate) fn wait_for(&self, command: &str, expected: &str) {
        let command: Vec<&str> = command.split(' ').collect();
        let mut last = String::new();
        for _ in 0..600 {
            last = text(self.query(&command));
            if last.contains(expected) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{command:?}: expected {expected:?}, got {last}");
    }

    /// The number of keys.
    pub(crate) fn keys(&self) -> u64 {
        self.query(&["DBSIZE"])
    }

    /// Appends records to the stream.
    pub(crate) fn append_many(&self, count: usize) {
        let mut pipeline = redis::pipe();
        for number in 0..count {
            pipeline.cmd("XADD").arg("actix-protect-api:records").arg("*").arg("r").arg(number).ignore();
        }
        pipeline.query::<()>(&mut self.connection()).unwrap();
    }

    /// Appends a record at this time in milliseconds, which is kept for this number of seconds.
    pub(crate) fn add(&self, time: u64, record: &str, keep: &str) {
        let id = format!("{time}-0");
        self.query::<String>(&["XADD", "actix-protect-api:records", &id, "r", record, "k", keep]);
    }

    /// The time of the server in milliseconds.
    pub(crate) fn time(&self) -> u64 {
        let (seconds, _microseconds): (u64, u64) = self.query(&["TIME"]);
        seconds * 1000
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn text(value: redis::Value) -> String {
    match value {
        redis::Value::Array(items) => items.into_iter().map(text).collect::<Vec<_>>().join("\n"),
        other => redis::from_redis_value(other).unwrap_or_default(),
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub(crate) fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = env::temp_dir().join(format!("protect-api-redis-{}-{number}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}
