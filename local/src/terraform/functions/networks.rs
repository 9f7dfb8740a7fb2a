//! Functions of network addresses.

use std::net::IpAddr;

use bigdecimal::ToPrimitive as _;

use super::{Arguments, Function};
use crate::terraform::value::Value;

pub(super) const FUNCTIONS: &[(&str, Function)] = &[
    ("cidrhost", |args| {
        let network = Network::parse(&args.string(0)?)?;
        let number = args.number(1)?.to_i128().ok_or("the number is too large")?;
        let hosts = network.bits - network.prefix;
        let size = if hosts == 128 {
            u128::MAX
        } else {
            (1 << hosts) - 1
        };
        let offset = if number < 0 {
            size.checked_sub(number.unsigned_abs() - 1)
        } else {
            Some(number.unsigned_abs()).filter(|n| *n <= size)
        };
        let offset = offset.ok_or_else(|| format!("the network has no host {number}"))?;
        Ok(network.address(network.base | offset).into())
    }),
    ("cidrnetmask", |args| {
        let network = Network::parse(&args.string(0)?)?;
        if network.bits != 32 {
            return Err("an IPv6 network has no netmask".to_owned());
        }
        Ok(network.address(network.mask()).into())
    }),
    ("cidrsubnet", |args| {
        let network = Network::parse(&args.string(0)?)?;
        let number = args
            .number(2)?
            .to_u128()
            .ok_or("the number of the subnet is not valid")?;
        network
            .subnet(args.whole(1)?, number)
            .map(|subnet| subnet.text().into())
    }),
    ("cidrsubnets", cidrsubnets),
];

/// A network of IPv4 or IPv6.
#[derive(Clone, Copy)]
struct Network {
    base: u128,
    prefix: u32,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Result<Network, String> {
        let invalid = || format!("\"{text}\" is not a network such as 10.0.0.0/8");
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let prefix: u32 = prefix.parse().map_err(|_| invalid())?;
        let (base, bits) = match address.parse().map_err(|_| invalid())? {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        if prefix > bits {
            return Err(invalid());
        }
        let network = Network { base, prefix, bits };
        Ok(Network {
            base: base & network.mask(),
            ..network
        })
    }

    fn mask(self) -> u128 {
        let hosts = self.bits - self.prefix;
        let all = if self.bits == 128 {
            u128::MAX
        } else {
            (1 << self.bits) - 1
        };
        all & u128::MAX.checked_shl(hosts).unwrap_or(0)
    }

    fn subnet(self, more: i64, number: u128) -> Result<Network, String> {
        let prefix = u32::try_from(more)
            .ok()
            .and_then(|more| self.prefix.checked_add(more));
        let prefix = prefix.filter(|prefix| *prefix <= self.bits);
        let prefix = prefix.ok_or_else(|| format!("there are no {more} bits left for subnets"))?;
        let width = prefix - self.prefix;
        if width < 128 && number >> width != 0 {
            return Err(format!("{width} bits are too few for the subnet {number}"));
        }
        let base = self.base | number.checked_shl(self.bits - prefix).unwrap_or(0);
        Ok(Network {
            base,
            prefix,
            bits: self.bits,
        })
    }

    fn address(self, address: u128) -> String {
        match u32::try_from(address) {
            Ok(address) if self.bits == 32 => std::net::Ipv4Addr::from_bits(address).to_string(),
            _ => std::net::Ipv6Addr::from_bits(address).to_string(),
        }
    }

    fn text(self) -> String {
        format!("{}/{}", self.address(self.base), self.prefix)
    }
}

fn cidrsubnets(args: &Arguments<'_>) -> Result<Value, String> {
    let network = Network::parse(&args.string(0)?)?;
    let mut next = Some(network.base);
    let mut subnets = Vec::new();
    for index in 1..args.values.len() {
        let mut subnet = network.subnet(args.whole(index)?, 0)?;
        let size = 1u128.checked_shl(subnet.bits - subnet.prefix);
        let full = || "the network has no room for that many subnets".to_owned();
        // A subnet begins at a multiple of its size.
        let start =
            next.and_then(|next| size.map_or(Some(next), |s| next.checked_next_multiple_of(s)));
        subnet.base = start.ok_or_else(full)?;
        if subnet.base & network.mask() != network.base {
            return Err(full());
        }
        next = size.and_then(|size| subnet.base.checked_add(size));
        subnets.push(subnet.text().into());
    }
    Ok(subnets.into())
}
