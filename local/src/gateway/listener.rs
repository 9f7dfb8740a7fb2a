//! The gateway's port, which accepts TLS and plain connections.
//!
//! API Gateway has TLS only, so clients and functions written for it use `wss://` and `https://`; others use `ws://` and
//! `http://`. The first byte tells them apart: no HTTP request begins with 0x16.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// The type of the first record of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// Accepts connections of both kinds.
pub(crate) struct Listener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl Listener {
    pub(crate) fn new(tcp: TcpListener, tls: TlsAcceptor) -> Listener {
        Listener { tcp, tls }
    }
}

/// The client of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Known as soon as there is a request.
    tls: Arc<AtomicBool>,
}

impl Peer {
    /// `https` or `http`, as `X-Forwarded-Proto` names it.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.load(Ordering::Relaxed) {
            "https"
        } else {
            "http"
        }
    }
}

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Peer {
        stream.remote_addr().clone()
    }
}

impl axum::serve::Listener for Listener {
    type Io = Socket;
    type Addr = Peer;

    async fn accept(&mut self) -> (Socket, Peer) {
        // axum's accept waits while the process is out of file descriptors.
        let (stream, address) = axum::serve::Listener::accept(&mut self.tcp).await;
        // A frame must not wait for the acknowledgement of the frame before it. A failure only costs time.
        let _ = stream.set_nodelay(true);
        let tls = Arc::new(AtomicBool::new(false));
        let state = State::New {
            stream,
            acceptor: self.tls.clone(),
            tls: Arc::clone(&tls),
        };
        (Socket { state }, Peer { address, tls })
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer {
            address: self.tcp.local_addr()?,
            tls: Arc::default(),
        })
    }
}

/// A connection of either kind.
pub(crate) struct Socket {
    state: State,
}

enum State {
    /// No byte has been read yet.
    New {
        stream: TcpStream,
        acceptor: TlsAcceptor,
        tls: Arc<AtomicBool>,
    },
    Handshake(Box<Accept<TcpStream>>),
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// The handshake has failed.
    Failed,
}

impl Socket {
    /// Finds the kind of a connection; for TLS, also finishes the handshake.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.state {
                State::Plain(_) | State::Tls(_) => return Poll::Ready(Ok(())),
                State::Failed => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
                State::New { stream, .. } => {
                    let mut byte = [0];
                    let read = ready!(stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)))?;
                    self.choose(read > 0 && byte == [TLS_HANDSHAKE]);
                }
                State::Handshake(accept) => {
                    self.state = match ready!(Pin::new(accept).poll(cx)) {
                        Ok(stream) => State::Tls(Box::new(stream)),
                        Err(error) => {
                            self.state = State::Failed;
                            return Poll::Ready(Err(error));
                        }
                    };
                }
            }
        }
    }

    fn choose(&mut self, is_tls: bool) {
        self.state = match std::mem::replace(&mut self.state, State::Failed) {
            State::New {
                stream,
                acceptor,
                tls,
            } => {
                tls.store(is_tls, Ordering::Relaxed);
                if is_tls {
                    State::Handshake(Box::new(acceptor.accept(stream)))
                } else {
                    State::Plain(stream)
                }
            }
            chosen => chosen,
        };
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match &mut self.state {
                State::Plain(stream) => return Pin::new(stream).poll_read(cx, buffer),
                State::Tls(stream) => return Pin::new(stream).poll_read(cx, buffer),
                State::New { .. } | State::Handshake(_) | State::Failed => {
                    ready!(self.poll_open(cx))?;
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match &mut self.state {
                State::Plain(stream) => return Pin::new(stream).poll_write_vectored(cx, slices),
                State::Tls(stream) => return Pin::new(stream).poll_write_vectored(cx, slices),
                State::New { .. } | State::Handshake(_) | State::Failed => {
                    ready!(self.poll_open(cx))?;
                }
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Plain(stream) => Pin::new(stream).poll_flush(cx),
            State::Tls(stream) => Pin::new(stream).poll_flush(cx),
            State::New { .. } | State::Handshake(_) | State::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::New { stream, .. } | State::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            State::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            // Its stream is closed when it is dropped, which nothing delays.
            State::Handshake(_) | State::Failed => Poll::Ready(Ok(())),
        }
    }
}
