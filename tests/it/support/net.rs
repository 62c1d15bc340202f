//! Sockets on the loopback interface.

use std::{
    cell::Cell,
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
};

use actix_web::rt::{
    net::{TcpListener, TcpStream},
    spawn,
};

/// Returns an address to which nothing listens.
pub(crate) fn unused_address() -> SocketAddr {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Serves every connection with this function. Returns the URL, which ends with a slash, and the number of connections.
pub(crate) async fn serving<F>(serve: impl Fn(TcpStream) -> F + 'static) -> (String, Rc<Cell<usize>>)
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let connections = Rc::new(Cell::new(0));
    let counter = Rc::clone(&connections);
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.set(counter.get() + 1);
            spawn(serve(stream));
        }
    });
    (url, connections)
}
