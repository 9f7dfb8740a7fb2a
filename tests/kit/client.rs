//! A WebSocket client that blocks.

use std::io::ErrorKind;
use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

/// A WebSocket client.
pub struct Client {
    /// The socket itself, for tests that need more than the methods below.
    pub socket: WebSocket<TcpStream>,
}

impl Client {
    /// Sends a text message.
    pub fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// Sends a JSON message.
    pub fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string());
    }

    /// Sends a message in frames of at most `frame_bytes` bytes.
    pub fn send_fragmented(&mut self, text: &str, frame_bytes: usize) {
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(frame_bytes).collect();
        for (index, chunk) in chunks.iter().enumerate() {
            let opcode = if index == 0 {
                OpCode::Data(Data::Text)
            } else {
                OpCode::Data(Data::Continue)
            };
            let frame = Frame::message(chunk.to_vec(), opcode, index + 1 == chunks.len());
            if self.socket.send(Message::Frame(frame)).is_err() {
                // The gateway has closed the connection. The close frame can still be read.
                return;
            }
        }
    }

    /// Sends a frame and returns the next frame that arrives.
    pub fn ask(&mut self, frame: &Value) -> Value {
        self.send(frame);
        self.receive()
    }

    /// Publishes and returns the ack.
    pub fn publish(&mut self, data: &Value) -> Value {
        let ack = self.ask(&json!({"action": "publish", "data": data}));
        assert_eq!(ack["type"], "ack", "{ack}");
        ack
    }

    /// Receives the next frame of any kind.
    pub fn read(&mut self) -> Result<Message, tungstenite::Error> {
        loop {
            match self.socket.read() {
                // A signal to this process, for example the end of a child, is not an error of the socket.
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// Receives the next frame, which must be text.
    pub fn receive_text(&mut self) -> String {
        match self.read().unwrap() {
            Message::Text(text) => text.to_string(),
            other => panic!("expected a text frame, got {other:?}"),
        }
    }

    /// Receives the next frame, which must be JSON.
    pub fn receive(&mut self) -> Value {
        let text = self.receive_text();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// Checks that no frame is on its way to this client.
    ///
    /// Frames to one client keep their order, so a frame on its way would arrive before the answer to a ping.
    pub fn has_received_all(&mut self) {
        assert_eq!(
            self.ask(&json!({"action": "ping"})),
            json!({"type": "pong"})
        );
    }

    /// Reads until the close frame.
    pub fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match self.read() {
                Ok(Message::Close(frame)) => return frame,
                Ok(_) => {}
                Err(error) => panic!("no close frame: {error}"),
            }
        }
    }

    /// Closes the connection and waits for its end.
    pub fn leave(mut self) {
        self.socket.close(None).unwrap();
        while self.read().is_ok() {}
    }
}
