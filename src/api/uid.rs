//! UIDs in the bytes that their digits are: some maps hold half a dozen of them for each lease.

use std::{fmt, ops::Deref};

/// A UID as API servers give them (RFC 4122, 36 characters).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid([u8; 16]);

/// How a UID is written.
pub struct Text([u8; 36]);

/// Before which bytes there is a dash.
const DASHES: [usize; 4] = [4, 6, 8, 10];

impl Uid {
    /// `None` for one that would be written in another way.
    #[must_use]
    pub fn parse(uid: &str) -> Option<Self> {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut digits = uid.bytes().filter(|c| *c != b'-');
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            *byte = digit(digits.next()?)? << 4 | digit(digits.next()?)?;
        }
        let parsed = Self(bytes);
        (*parsed.text() == *uid).then_some(parsed)
    }

    /// As the API server writes it.
    #[must_use]
    pub fn text(&self) -> Text {
        let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
        let mut text = [b'-'; 36];
        let mut places = text.iter_mut();
        for (n, byte) in self.0.iter().enumerate() {
            if DASHES.contains(&n) {
                places.next();
            }
            for value in [byte >> 4, byte & 15] {
                if let Some(place) = places.next() {
                    *place = digit(value);
                }
            }
        }
        Text(text)
    }

    /// Its 128 bits, big-endian.
    #[must_use]
    pub fn number(&self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        // Nothing but digits and dashes was written.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Uid").field(&&*self.text()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_written_as_it_was_read_and_nothing_else_is_one() {
        for uid in ["5f2c8a8e-3b1d-4c55-9a7e-0d6f1b2c3a49", "00000000-0000-0000-0000-0000000000ff"] {
            let read = Uid::parse(uid).unwrap();
            assert_eq!((&*read.text(), read.to_string().as_str()), (uid, uid));
            assert_eq!(format!("{:032x}", read.number()), uid.replace('-', ""));
        }
        for bad in [
            "",
            "x",
            "5F2C8A8E-3b1d-4c55-9a7e-0d6f1b2c3a49",
            "5f2c8a8e3b1d4c559a7e0d6f1b2c3a49",
            "5f2c8a8e3-b1d-4c55-9a7e-0d6f1b2c3a49",
            "5f2c8a8e-3b1d-4c55-9a7e-0d6f1b2c3a490",
            "5f2c8a8e-3b1d-4c55-9a7e-0d6f1b2c3a4g",
        ] {
            assert_eq!(Uid::parse(bad), None, "{bad}");
        }
    }
}
