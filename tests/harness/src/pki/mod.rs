//! The certificates of one control plane, made anew for each run.

mod client_certificate;

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

/// The common name of the authority, and so the issuer of every certificate.
const AUTHORITY: &str = "leasehold test authority";

/// How many characters a line of PEM has (RFC 7468).
const PEM_LINE: usize = 64;

/// A certificate, or a public key, and the private key to it, in PEM.
#[derive(Debug, Clone)]
pub(crate) struct PemPair {
    pub public: String,
    pub private: String,
}

/// Signs the API server's certificate and those of its users.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    next_serial: AtomicU64,
}

impl Authority {
    pub fn generate() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![DigitalSignature, KeyCertSign, CrlSign];
        params.distinguished_name.push(DnType::CommonName, AUTHORITY);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer, next_serial: AtomicU64::new(1) })
    }

    /// Its own certificate, which clients trust.
    pub fn certificate_pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn certificate_der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    /// For a server that is reached by these DNS names and IP addresses.
    pub fn server(&self, names: &[&str]) -> Result<PemPair> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let common_name = names.first().context("a server certificate needs a name")?.clone();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(PemPair { public: certificate.pem(), private: key.serialize_pem() })
    }

    /// For a user of the API server, which takes the name from CN and the groups from O.
    pub fn user(&self, name: &str, groups: &[&str]) -> Result<PemPair> {
        let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
        let key = KeyPair::generate()?;
        let subject = client_certificate::Subject { name, groups };
        let der = client_certificate::sign(serial, &subject, &key, self.issuer.key())?;
        Ok(PemPair { public: pem("CERTIFICATE", &der), private: key.serialize_pem() })
    }
}

/// The key that signs ServiceAccount tokens.
pub(crate) fn service_account_keys() -> Result<PemPair> {
    let key = KeyPair::generate()?;
    Ok(PemPair { public: key.public_key_pem(), private: key.serialize_pem() })
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut lines = Vec::new();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(PEM_LINE));
        lines.push(line);
        rest = after;
    }
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
