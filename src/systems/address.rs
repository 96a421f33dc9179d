//! Addresses that nothing is ever sent to.
//!
//! Whoever writes a ConnectedSystem, or the name server, must not turn the operator towards what trusts a machine because of
//! where it stands: the metadata services of clouds, and what listens on the operator's own machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata and agents of clouds outside the link-local ranges: AWS over IPv6, Alibaba Cloud, Azure, Oracle Cloud.
const METADATA: &[IpAddr] = &[
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Whether nothing may be sent to this address, which a host's name was resolved to. `loopback`: the url itself says loopback.
pub(super) fn is_forbidden(address: IpAddr, loopback: bool) -> bool {
    let within = match address {
        IpAddr::V4(v4) => is_special_v4(v4),
        IpAddr::V6(v6) => {
            let link_local = v6.segments()[0] & 0xffc0 == 0xfe80;
            link_local
                || v6.is_multicast()
                || v6.is_unspecified()
                || embedded(v6).is_some_and(|v4| is_forbidden(v4.into(), loopback))
        }
    };
    within || METADATA.contains(&address) || (is_loopback(address) && !loopback)
}

fn is_special_v4(address: Ipv4Addr) -> bool {
    // All of 0.0.0.0/8 reaches this machine on some systems.
    address.octets()[0] == 0 || address.is_link_local() || address.is_multicast() || address.is_broadcast()
}

/// The IPv4 address that an IPv6 address stands for: mapped (RFC 4291), translated (RFC 6052), or tunnelled (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => Some(v4(g, h)),
        // IPv4-compatible, but not ::1, which is loopback.
        [0, 0, 0, 0, 0, 0] if (g, h) != (0, 1) => Some(v4(g, h)),
        [0x2002, ..] => Some(v4(b, c)),
        _ => None,
    }
}

/// Whether it is this machine's own.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    }
}

/// Whether a url's host says loopback by itself, whatever a name server says.
pub(super) fn says_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_trusts_by_place_is_never_sent_to() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "::ffff:100.100.100.200",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(is_forbidden(address, false) && is_forbidden(address, true), "{address}");
        }
    }

    #[test]
    fn this_machine_is_reached_only_by_a_url_that_says_so() {
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"] {
            let address: IpAddr = address.parse().unwrap();
            assert!(is_forbidden(address, false), "{address}");
            assert!(!is_forbidden(address, true), "{address}");
        }
        assert!(says_loopback("localhost") && says_loopback("127.0.0.1") && says_loopback("[::1]"));
        assert!(!says_loopback("localhost.example.com") && !says_loopback("10.0.0.1"));
    }

    #[test]
    fn private_and_public_addresses_are_reached() {
        for address in ["10.0.0.1", "192.168.1.1", "172.16.0.1", "8.8.8.8", "fd00::1", "2606:4700::1111"] {
            assert!(!is_forbidden(address.parse().unwrap(), false), "{address}");
        }
    }
}
