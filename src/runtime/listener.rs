//! Takes connections, but few at once: whoever can reach the endpoints can open them, and each costs memory that ends need.
//!
//! Where there is no room, the oldest makes room: a probe or a scrape takes milliseconds, and what is open for longer than that
//! while others come is idle or of no good will.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

/// The most connections at once.
const MOST: usize = 32;

/// A listener whose connections are few.
pub(super) struct Few {
    listener: TcpListener,
    /// Those that may be open, the oldest first; a token is cancelled once its connection is over.
    open: VecDeque<CancellationToken>,
}

impl Few {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, open: VecDeque::new() }
    }

    /// Room for one more, and the token that ends it.
    fn make_room(&mut self) -> CancellationToken {
        self.open.retain(|token| !token.is_cancelled());
        if self.open.len() >= MOST
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.cancel();
        }
        let token = CancellationToken::new();
        self.open.push_back(token.clone());
        token
    }
}

impl axum::serve::Listener for Few {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Waits where descriptors have run out, and does not end.
        let (stream, peer) = axum::serve::Listener::accept(&mut self.listener).await;
        let token = self.make_room();
        let over = Box::pin(token.clone().cancelled_owned());
        (Connection { stream, over, _open: token.drop_guard() }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that can be ended from outside.
pub(super) struct Connection {
    stream: TcpStream,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    _open: DropGuard,
}

impl Connection {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.over.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_open(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_open(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn answer(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn whoever_holds_connections_open_keeps_nobody_out_and_loses_the_oldest() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = axum::serve(Few::new(listener), Router::new().route("/", get(|| async { "ok" })));
        tokio::spawn(async move { serving.await });
        let mut held = vec![];
        for _ in 0..MOST * 4 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
            held.push(stream);
        }
        assert!(answer(address).await.ends_with("ok"));
        let mut oldest = held.swap_remove(0);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(5), oldest.read(&mut [0; 1])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "the oldest is still held: {ended:?}");
        drop(held);
        assert!(answer(address).await.ends_with("ok"));
    }
}
