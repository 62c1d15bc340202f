//! The servers of the shared store: one server with or without TLS, a group with a sentinel, or a cluster.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Stdio},
    thread,
    time::Duration,
};

use actix_web::rt::time::sleep;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::child::{self, ChildProcess};

/// The key of the records, and a part of the response of `ROLE`.
const RECORDS: &str = "actix-protect-api:records";
const IS_PRIMARY: &str = "master";

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Server,
    /// One server with a certificate of a private authority.
    Tls,
    /// A primary, a replica of it, and one sentinel.
    Sentinels,
    /// Three primaries, each with a replica.
    Cluster,
}

/// One process of `redis-server`.
pub(crate) struct Server {
    pub(crate) process: Option<ChildProcess>,
    pub(crate) port: u16,
    options: Vec<String>,
}

pub(crate) struct Redis {
    pub(crate) kind: Kind,
    /// In a group, the primary and then its replica. In a cluster, the primaries and then the replica of each.
    pub(crate) servers: Vec<Server>,
    sentinel: Option<Server>,
    folder: PathBuf,
    tls_port: u16,
}

impl Redis {
    pub(crate) async fn start(kind: Kind) -> Self {
        let folder = env::temp_dir().join(format!("protect-api-fleet-{}-{}", process::id(), free_port()));
        fs::create_dir_all(&folder).unwrap();
        let mut redis = Self { kind, servers: Vec::new(), sentinel: None, folder, tls_port: free_port() };
        match kind {
            Kind::Server => redis.servers.push(Server::start(&redis.folder, &[])),
            Kind::Tls => redis.start_with_tls(),
            Kind::Sentinels => redis.start_group().await,
            Kind::Cluster => redis.start_cluster().await,
        }
        redis
    }

    fn start_with_tls(&mut self) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let [ca, cert, pem] = ["ca.pem", "cert.pem", "key.pem"].map(|name| self.path(name));
        fs::write(&ca, authority.pem()).unwrap();
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&pem, key.serialize_pem()).unwrap();
        let port = self.tls_port.to_string();
        let files = ["--tls-cert-file", &cert, "--tls-key-file", &pem, "--tls-ca-cert-file", &ca];
        self.servers.push(Server::start(
            &self.folder,
            &[&["--tls-port", &port, "--tls-auth-clients", "no"][..], &files[..]].concat(),
        ));
    }

    async fn start_group(&mut self) {
        let primary = Server::start(&self.folder, &[]);
        let port = primary.port.to_string();
        self.servers.extend([primary, Server::start(&self.folder, &["--replicaof", "127.0.0.1", &port])]);
        let config = self.path("sentinel.conf");
        let settings = "sentinel down-after-milliseconds group 1000\nsentinel failover-timeout group 60000\n";
        fs::write(&config, format!("sentinel monitor group 127.0.0.1 {port} 1\n{settings}")).unwrap();
        let mut sentinel = Server { process: None, port: free_port(), options: vec![config] };
        sentinel.options.push("--sentinel".to_owned());
        sentinel.start_again();
        sentinel.wait_for("SENTINEL MASTER group", "num-slaves\r\n$1\r\n1").await;
        self.servers[1].wait_for("INFO replication", "master_link_status:up").await;
        self.sentinel = Some(sentinel);
    }

    async fn start_cluster(&mut self) {
        for number in 0..6 {
            let (bus, file) = (free_port().to_string(), self.path(&format!("nodes-{number}.conf")));
            let options =
                ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-config-file", &file];
            let server =
                Server::start(&self.folder, &[&options[..], &["--cluster-node-timeout", "1000"]].concat());
            if let Some(first) = self.servers.first() {
                first.command(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", server.port));
            }
            self.servers.push(server);
        }
        for (server, slots) in self.servers.iter().zip(["0 5460", "5461 10922", "10923 16383"]) {
            server.command(&format!("CLUSTER ADDSLOTSRANGE {slots}"));
        }
        for index in 0..3 {
            let (primary, replica) = (&self.servers[index], &self.servers[index + 3]);
            let id = primary.command("CLUSTER MYID");
            let id = id.split("\r\n").nth(1).unwrap();
            replica.wait_for("CLUSTER NODES", id).await;
            replica.command(&format!("CLUSTER REPLICATE {id}"));
            replica.wait_for("INFO replication", "master_link_status:up").await;
        }
        for server in &self.servers {
            server.wait_for("CLUSTER INFO", "cluster_state:ok").await;
            server.wait_for("CLUSTER INFO", "cluster_known_nodes:6").await;
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    /// The variables of a replica of the API. `port` takes the place of that of one server.
    pub(crate) fn variables(&self, port: Option<u16>) -> Vec<(&'static str, String)> {
        let url = |port: u16| format!("redis://127.0.0.1:{port}");
        match self.kind {
            Kind::Server => vec![("REDIS_URLS", url(port.unwrap_or(self.servers[0].port)))],
            Kind::Tls => vec![
                ("REDIS_URLS", format!("rediss://localhost:{}", self.tls_port)),
                ("SSL_CERT_FILE", self.path("ca.pem")),
            ],
            Kind::Sentinels => vec![
                ("REDIS_URLS", self.sentinel.iter().map(|server| url(server.port)).collect()),
                ("REDIS_GROUP", "redis://group/0".to_owned()),
            ],
            Kind::Cluster => {
                let urls: Vec<String> = self.servers.iter().map(|server| url(server.port)).collect();
                vec![("REDIS_URLS", urls.join(",")), ("REDIS_CLUSTER", "yes".to_owned())]
            }
        }
    }

    /// The server of the records. In a cluster, it depends on the slot of the key.
    pub(crate) fn primary(&mut self) -> &mut Server {
        let command = format!("XLEN {RECORDS}");
        let index = if self.kind == Kind::Cluster {
            (0..3).find(|index| self.servers[*index].command(&command).starts_with(':')).unwrap()
        } else {
            0
        };
        &mut self.servers[index]
    }

    /// The number of the server that takes the place of this one.
    fn successor(&self, primary: u16) -> &Server {
        let index = self.servers.iter().position(|server| server.port == primary).unwrap();
        &self.servers[index + self.servers.len() / 2]
    }

    /// Ends the replication to the successor, which then lacks later records.
    pub(crate) async fn cut_replication(&mut self) {
        let port = self.primary().port;
        let successor = self.successor(port);
        // The successor connects again with a user that does not exist.
        successor.command("CONFIG SET masteruser nobody");
        successor.command("CONFIG SET masterauth nothing");
        let primary = self.servers.iter().find(|server| server.port == port).unwrap();
        primary.command("CLIENT KILL TYPE replica");
        successor.wait_for("INFO replication", "master_link_status:down").await;
    }

    /// Waits until the successor of this server is the primary.
    pub(crate) async fn promoted(&self, primary: u16) {
        let successor = self.successor(primary);
        successor.wait_for("ROLE", IS_PRIMARY).await;
        if self.kind == Kind::Cluster {
            successor.wait_for("CLUSTER INFO", "cluster_state:ok").await;
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Server {
    /// Starts a server without persistence. A replica stores the copy of its primary in the folder.
    fn start(folder: &Path, options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self { process: None, port: free_port(), options };
        let folder = folder.to_str().unwrap();
        server.options.extend(["--save", "", "--appendonly", "no", "--dir", folder].map(str::to_owned));
        server.start_again();
        server
    }

    pub(crate) fn start_again(&mut self) {
        let mut command = child::command("redis-server");
        // The configuration file of a sentinel comes before the options.
        let (file, options) = self.options.split_at(usize::from(!self.options[0].starts_with("--")));
        command.args(file).args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]).args(options);
        self.process = Some(ChildProcess(command.stdout(Stdio::null()).spawn().unwrap()));
        for _ in 0..200 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("redis-server does not listen: {:?}", self.options);
    }

    /// Sends a command. Returns the start of its response.
    pub(crate) fn command(&self, command: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut reply = vec![0; 64 * 1024];
        let read = stream.read(&mut reply).unwrap();
        String::from_utf8_lossy(&reply[..read]).into_owned()
    }

    pub(crate) async fn wait_for(&self, command: &str, expected: &str) {
        for _ in 0..3000 {
            if self.command(command).contains(expected) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{command}: expected {expected}, got {}", self.command(command));
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
