//! The hardened client in calls of the application: it works with every server with which a plain `awc::Client` works.

use std::{
    io::{Read as _, Write as _},
    sync::mpsc,
};

use actix_protect_api::hardened_client;
use actix_web::rt::{net::TcpStream, time::timeout};
use awc::{Client, ClientRequest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{net::serving, time::PATIENCE};

async fn read_until(stream: &mut TcpStream, end: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    while !read.ends_with(end) {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(read)
}

async fn body_of(request: ClientRequest, body: &'static str) -> String {
    let exchange = async {
        let mut response = request.send_body(body).await.unwrap();
        response.body().await.unwrap()
    };
    String::from_utf8(timeout(PATIENCE, exchange).await.expect("the call hangs").to_vec()).unwrap()
}

/// The server sends an interim response if the request expects it, as RFC 9110 section 10.1.1 requires.
#[actix_web::test]
async fn a_request_with_expect_gets_its_response() {
    let (url, _) = serving(|mut stream| async move {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            if String::from_utf8_lossy(&head).to_ascii_lowercase().contains("100-continue") {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            read_until(&mut stream, b"BODY").await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await?;
        }
    })
    .await;
    let client = hardened_client();
    for _ in 0..2 {
        let request = client.post(&url).insert_header(("Expect", "100-continue"));
        assert_eq!(body_of(request, "BODY").await, "ok");
        // The same with a head that several requests share, and with a header that belongs to one of them.
        let frozen = client.post(&url).insert_header(("Expect", "100-continue")).freeze().unwrap();
        let exchange = async { frozen.send_body("BODY").await.unwrap().body().await.unwrap() };
        assert_eq!(timeout(PATIENCE, exchange).await.expect("the call hangs"), "ok");
        let frozen = client.post(&url).freeze().unwrap();
        let request = frozen.extra_header(("Expect", "100-continue"));
        let exchange = async { request.send_body("BODY").await.unwrap().body().await.unwrap() };
        assert_eq!(timeout(PATIENCE, exchange).await.expect("the call hangs"), "ok");
    }
}

#[actix_web::test]
async fn a_chunked_response_may_end_in_any_form() {
    for (body, end) in [
        ("ok", "0\r\n\r\n"),
        ("ok", "000\r\n\r\n"),
        ("ok", "0;a=b\r\n\r\n"),
        ("ok", "0 ;a=\"b\"\r\n\r\n"),
        ("ok", "0\r\nX-Sum: 1\r\n\r\n"),
        ("ok", "0;a\r\nX-Sum: 1\r\nX-More: 0\r\n\r\n"),
        ("0\r\n\r\n", "0\r\n\r\n"),
    ] {
        // At once, and byte by byte.
        for pieces in [1024, 1] {
            let response = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:X};x=y\r\n{body}\r\n{end}",
                body.len()
            );
            let (url, connections) = serving(move |mut stream| {
                let response = response.clone();
                async move {
                    stream.set_nodelay(true)?;
                    loop {
                        read_until(&mut stream, b"x").await?;
                        for piece in response.as_bytes().chunks(pieces) {
                            stream.write_all(piece).await?;
                            actix_web::rt::task::yield_now().await;
                        }
                    }
                }
            })
            .await;
            let client = hardened_client();
            for turn in 0..6 {
                assert_eq!(body_of(client.post(&url), "x").await, body, "{end:?} {pieces} {turn}");
            }
            assert_eq!(connections.get(), 1, "{end:?} {pieces}: it is kept alive");
        }
    }
}

/// The connection is not used again, and the request goes over another one.
#[actix_web::test]
async fn bytes_on_an_idle_connection_cost_no_request() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
    ] {
        for late in ["x", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforeign", ""] {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            let ((ask, asked), (tell, told)) = (mpsc::channel::<()>(), mpsc::channel::<()>());
            let server = std::thread::spawn(move || {
                let mut request = [0; 2048];
                let (mut first, _) = listener.accept().unwrap();
                assert!(first.read(&mut request).unwrap() > 0);
                first.write_all(response.as_bytes()).unwrap();
                asked.recv().unwrap();
                if late.is_empty() {
                    first.shutdown(std::net::Shutdown::Write).unwrap();
                } else {
                    first.write_all(late.as_bytes()).unwrap();
                }
                tell.send(()).unwrap();
                let (mut second, _) = listener.accept().unwrap();
                assert!(second.read(&mut request).unwrap() > 0);
                second.write_all(response.as_bytes()).unwrap();
            });
            let client: Client = hardened_client();
            assert_eq!(body_of(client.get(&url), "").await, "ok");
            // The thread of the runtime waits, so that the bytes are still in the kernel.
            ask.send(()).unwrap();
            told.recv().unwrap();
            assert_eq!(body_of(client.get(&url), "").await, "ok", "{response:?} {late:?}");
            server.join().unwrap();
        }
    }
}
