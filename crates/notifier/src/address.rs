//! Which addresses a request of ours may go to: those of the public internet, unless the operator allows all.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::ADDRESSES_TRIED;

/// Where the endpoints of channels may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// On the public internet.
    Public,
    /// Anywhere, the machine itself and its network included.
    Anywhere,
}

/// Why a name leads to no address.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// It has none, or the resolver does not answer.
    #[error("its name has no address: {0}")]
    Unknown(io::Error),
    /// All of them are ones that nothing is sent to.
    #[error(
        "'{host}' is {found}, which is no address of the public internet; --allow-private-webhooks allows it"
    )]
    Private {
        /// The name.
        host: String,
        /// One of its addresses.
        found: IpAddr,
    },
}

impl Reach {
    /// The addresses of a host that may be connected to; these very ones, so that another answer of the resolver later
    /// on changes nothing.
    pub(crate) async fn resolve(self, host: &str, port: u16) -> Result<Vec<SocketAddr>, AddressError> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let found = tokio::net::lookup_host((bare, port)).await.map_err(AddressError::Unknown)?;
        let found: Vec<SocketAddr> = found.collect();
        let allowed: Vec<SocketAddr> = match self {
            Self::Anywhere => found.iter().take(ADDRESSES_TRIED).copied().collect(),
            Self::Public => found
                .iter()
                .filter(|address| is_public(address.ip()))
                .take(ADDRESSES_TRIED)
                .copied()
                .collect(),
        };
        match (allowed.is_empty(), found.first()) {
            (false, _) => Ok(allowed),
            (true, Some(first)) => Err(AddressError::Private { host: host.to_owned(), found: first.ip() }),
            (true, None) => Err(AddressError::Unknown(io::ErrorKind::NotFound.into())),
        }
    }
}

/// Whether an address is of the public internet: neither this machine nor its network, nor one that leads to them.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special = match address.octets() {
        // This network; shared by providers (CGNAT); protocols; 6to4 relays; benchmarks; reserved.
        [0 | 240..=255, ..]
        | [100, 64..=127, ..]
        | [192, 0, 0, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..] => true,
        _ => false,
    };
    !special
        && !address.is_private()
        && !address.is_loopback()
        && !address.is_link_local()
        && !address.is_documentation()
        && !address.is_multicast()
}

/// Global unicast, without what embeds an address of version 4 or is set aside.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Protocols, Teredo, ORCHID; 6to4; documentation.
        [0x2001, 0..=0x01FF, ..] | [0x2002, ..] | [0x2001, 0x0DB8, ..] | [0x3FFF, 0..=0x0FFF, ..] => false,
        [first, ..] => (0x2000..=0x3FFF).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for public in
            ["1.1.1.1", "93.184.216.34", "100.63.255.255", "100.128.0.0", "172.32.0.1", "2606:4700::1111"]
        {
            assert!(is_public(public.parse().expect("an address")), "{public}");
        }
        for other in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.7",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(other.parse().expect("an address")), "{other}");
        }
    }

    #[tokio::test]
    async fn a_name_is_what_it_resolves_to() {
        // The resolver takes each of these for an address of this machine or the metadata service.
        for host in
            ["localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:a9fe:a9fe]", "0"]
        {
            let refused = Reach::Public.resolve(host, 80).await.expect_err(host);
            assert!(matches!(refused, AddressError::Private { .. }), "{host}: {refused}");
            assert!(!Reach::Anywhere.resolve(host, 80).await.expect(host).is_empty());
        }
        assert!(matches!(Reach::Public.resolve("1.1.1.1", 80).await.as_deref(), Ok([_])));
        let unknown = Reach::Anywhere.resolve("a name with spaces", 80).await;
        assert!(matches!(unknown, Err(AddressError::Unknown(_))), "{unknown:?}");
    }
}
