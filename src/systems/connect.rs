//! A connection to a system: its name resolved, every address looked at, and TLS.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Uri;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, CertificateError, ClientConfig, pki_types::ServerName},
};

use super::{address, send::NoAnswer};

/// How long one address may take to accept a connection, if there are others.
const EACH_ADDRESS: Duration = Duration::from_secs(3);

/// A connection, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to where the url says, and nowhere else: no proxy is asked, whatever the environment says.
pub(super) async fn connect(url: &Uri, tls: &Arc<ClientConfig>) -> Result<Box<dyn Stream>, NoAnswer> {
    let host = url.host().ok_or(NoAnswer::Url)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let encrypted = match url.scheme_str() {
        Some("https") => true,
        // The schema says so too; it could be changed.
        Some("http") if address::says_loopback(host) => false,
        _ => return Err(NoAnswer::Url),
    };
    let port = url.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let tcp = open(&resolve(bare, port, address::says_loopback(host)).await?).await?;
    // Small requests, each waited for.
    _ = tcp.set_nodelay(true);
    if !encrypted {
        return Ok(Box::new(tcp));
    }
    let name = ServerName::try_from(bare.to_owned()).map_err(|_| NoAnswer::Url)?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await.map_err(|error| distrust(&error))?;
    Ok(Box::new(stream))
}

/// The addresses of a host. One that is forbidden spoils all: a name that has such a one is not to be trusted with the others.
async fn resolve(host: &str, port: u16, loopback: bool) -> Result<Vec<SocketAddr>, NoAnswer> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await.map_err(|_| NoAnswer::Name)?.collect();
    if found.iter().any(|found| address::is_forbidden(found.ip(), loopback)) {
        return Err(NoAnswer::Forbidden);
    }
    if found.is_empty() { Err(NoAnswer::Name) } else { Ok(found) }
}

async fn open(addresses: &[SocketAddr]) -> Result<TcpStream, NoAnswer> {
    for address in addresses {
        if let Ok(Ok(stream)) = tokio::time::timeout(EACH_ADDRESS, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    Err(NoAnswer::Connect)
}

/// Why TLS failed, in our own words.
fn distrust(error: &std::io::Error) -> NoAnswer {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => NoAnswer::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => NoAnswer::NotYetValid,
            CertificateError::UnknownIssuer | CertificateError::BadSignature => NoAnswer::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => NoAnswer::OtherName,
            _ => NoAnswer::Certificate,
        },
        _ => NoAnswer::Tls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused_unless_the_url_says_loopback() {
        assert_eq!(resolve("localhost", 443, false).await, Err(NoAnswer::Forbidden));
        assert!(resolve("localhost", 443, true).await.is_ok());
        assert_eq!(resolve("169.254.169.254", 443, true).await, Err(NoAnswer::Forbidden));
        assert_eq!(resolve("name.invalid", 443, false).await, Err(NoAnswer::Name));
    }
}
