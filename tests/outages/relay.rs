//! A cable between an API server and etcd that can be cut.

use std::sync::Arc;

use anyhow::Result;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes connections on as long as it is whole.
pub struct Relay {
    pub port: u16,
    whole: Arc<watch::Sender<bool>>,
}

impl Relay {
    /// One to this address.
    pub async fn to(address: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let whole = Arc::new(watch::Sender::new(true));
        let state = whole.clone();
        tokio::spawn(async move {
            loop {
                let Ok((mut near, _)) = listener.accept().await else { continue };
                let mut state = state.subscribe();
                if !*state.borrow_and_update() {
                    continue;
                }
                let address = address.clone();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(address).await else { return };
                    // Either end closes, or the cable is cut: both ends see the same.
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.changed() => {}
                    }
                });
            }
        });
        Ok(Self { port, whole })
    }

    /// Every connection ends, and none comes about.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// Connections come about again.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}
