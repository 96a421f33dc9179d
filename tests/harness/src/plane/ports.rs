//! Free ports, asked of the kernel.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// The ports of one control plane, all on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub etcd_client: u16,
    pub etcd_peer: u16,
    pub apiserver: u16,
}

impl Ports {
    /// Ports nobody listens on. Somebody may before we do, so a start that finds one taken tries again with others.
    pub fn free() -> Result<Self> {
        // All are held at once, so they differ.
        let held = [listener()?, listener()?, listener()?];
        let [etcd_client, etcd_peer, apiserver] = held.each_ref().map(TcpListener::local_addr);
        Ok(Self { etcd_client: etcd_client?.port(), etcd_peer: etcd_peer?.port(), apiserver: apiserver?.port() })
    }
}

fn listener() -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("ask the kernel for a free port")
}

/// Whether a start failed because somebody took a port in between. The component says so in its log, which the error
/// quotes; there is no other sign.
pub(super) fn was_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("address already in use")
}
