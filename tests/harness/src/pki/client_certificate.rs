//! An X.509 v3 client certificate whose subject has several organisations (RFC 5280).
//!
//! Kubernetes reads a user's groups from the organisations of the subject. rcgen's `DistinguishedName` is a map, one
//! value a type, so it can describe a user of one group only; everything else about certificates is left to it.

use anyhow::Result;
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use yasna::models::ObjectIdentifier;
use yasna::tags::TAG_UTCTIME;
use yasna::{DERWriter, DERWriterSeq, Tag, construct_der};

use super::AUTHORITY;

const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
const ORGANIZATION: &[u64] = &[2, 5, 4, 10];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
const CLIENT_AUTH: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 3, 2];
const ECDSA_WITH_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];

/// From 2000 to the last second a UTCTime can name: nothing here depends on the clock.
const VALIDITY: [&[u8]; 2] = [b"000101000000Z", b"491231235959Z"];

/// Version numbers start at 0, so this is v3, the first with extensions.
const V3: u64 = 2;

/// Who the certificate is for.
pub(super) struct Subject<'a> {
    pub name: &'a str,
    pub groups: &'a [&'a str],
}

/// The certificate in DER. Both keys are ECDSA P-256, rcgen's default.
pub(super) fn sign(serial: u64, subject: &Subject<'_>, key: &KeyPair, issuer: &KeyPair) -> Result<Vec<u8>> {
    let to_be_signed = construct_der(|writer| {
        writer.write_sequence(|fields| {
            fields.next().write_tagged(Tag::context(0), |version| version.write_u64(V3));
            fields.next().write_u64(serial);
            signature_algorithm(fields.next());
            fields.next().write_sequence(|names| attribute(names, COMMON_NAME, AUTHORITY));
            fields.next().write_sequence(|validity| VALIDITY.iter().for_each(|time| utc_time(validity.next(), time)));
            fields.next().write_sequence(|names| subject.write(names));
            fields.next().write_der(&key.subject_public_key_info());
            fields.next().write_tagged(Tag::context(3), |extensions| extensions.write_sequence(client_extensions));
        });
    });
    let signature = issuer.sign(&to_be_signed)?;
    Ok(construct_der(|writer| {
        writer.write_sequence(|fields| {
            fields.next().write_der(&to_be_signed);
            signature_algorithm(fields.next());
            fields.next().write_bitvec_bytes(&signature, signature.len() * 8);
        });
    }))
}

impl Subject<'_> {
    fn write(&self, names: &mut DERWriterSeq<'_>) {
        for group in self.groups {
            attribute(names, ORGANIZATION, group);
        }
        attribute(names, COMMON_NAME, self.name);
    }
}

fn attribute(names: &mut DERWriterSeq<'_>, kind: &[u64], value: &str) {
    names.next().write_set(|set| {
        set.next().write_sequence(|pair| {
            oid(pair.next(), kind);
            pair.next().write_utf8_string(value);
        });
    });
}

fn client_extensions(extensions: &mut DERWriterSeq<'_>) {
    let digital_signature = construct_der(|writer| writer.write_bitvec_bytes(&[0b1000_0000], 1));
    extension(extensions, KEY_USAGE, &digital_signature);
    let client_auth = construct_der(|writer| writer.write_sequence(|usages| oid(usages.next(), CLIENT_AUTH)));
    extension(extensions, EXTENDED_KEY_USAGE, &client_auth);
}

fn extension(extensions: &mut DERWriterSeq<'_>, kind: &[u64], value: &[u8]) {
    extensions.next().write_sequence(|fields| {
        oid(fields.next(), kind);
        fields.next().write_bytes(value);
    });
}

fn signature_algorithm(writer: DERWriter<'_>) {
    writer.write_sequence(|fields| oid(fields.next(), ECDSA_WITH_SHA256));
}

fn utc_time(writer: DERWriter<'_>, time: &[u8]) {
    writer.write_tagged_implicit(TAG_UTCTIME, |writer| writer.write_bytes(time));
}

fn oid(writer: DERWriter<'_>, components: &[u64]) {
    writer.write_oid(&ObjectIdentifier::from_slice(components));
}
