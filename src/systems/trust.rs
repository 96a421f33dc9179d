//! By which certificates a system is trusted.

use std::sync::Arc;

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Why no system can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Untrusted {
    #[error("caBundle holds no certificate, or something that is none")]
    Bundle,
    #[error("there are no CA certificates in the operator's image: write the system's own in caBundle")]
    NoRoots,
    #[error("TLS cannot be set up")]
    Setup,
}

/// TLS 1.2 and 1.3, trusting these CA certificates alone (PEM), or those of the operator's image.
pub(super) fn client(ca_bundle: Option<&str>) -> Result<Arc<ClientConfig>, Untrusted> {
    let mut roots = RootCertStore::empty();
    match ca_bundle {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(certificate.map_err(|_| Untrusted::Bundle)?).map_err(|_| Untrusted::Bundle)?;
            }
            if roots.is_empty() {
                return Err(Untrusted::Bundle);
            }
        }
        None => {
            // Single files that cannot be read or parsed are nothing that the others could not do without.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(Untrusted::NoRoots);
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| Untrusted::Setup)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
