//! The server's side of a WebSocket (RFC 6455), as far as a browser needs it: it says who the client is, then echoes.
//!
//! It must never take part in a handshake of its own: the connection was authenticated, or not, before.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::WebSocketStream;
pub(super) use tokio_tungstenite::tungstenite::handshake::derive_accept_key as accept;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Message, Result};

use crate::stream::Stream;

/// Says `name`, then sends back what is said, until the client closes. `read` came behind the request already.
pub(super) async fn serve(stream: &mut Stream, read: Vec<u8>, name: &str) -> Result<()> {
    let mut socket = WebSocketStream::from_partially_read(stream, read, Role::Server, None).await;
    socket.send(Message::text(name)).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        // tungstenite answers pings and farewells itself.
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixStream;

    #[tokio::test]
    async fn the_client_is_named_and_echoed() {
        let (server, client) = UnixStream::pair().unwrap();
        // The client waits for the end of the stream, which comes when the block drops it.
        let serving = async move { serve(&mut Stream::Unix(server), Vec::new(), "alice").await };
        let asking = async {
            let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
            assert_eq!(client.next().await.unwrap().unwrap(), Message::text("alice"));
            let long = Message::text("hello ".repeat(50_000));
            client.send(long.clone()).await.unwrap();
            assert_eq!(client.next().await.unwrap().unwrap(), long);
            client.close(None).await.unwrap();
            while client.next().await.is_some() {}
        };
        let (served, ()) = tokio::join!(serving, asking);
        served.unwrap();
    }
}
