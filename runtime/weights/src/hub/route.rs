//! Which proxy leads to an address, and which addresses are asked directly: hosts with all below
//! them, addresses and networks, each with a port or without. A proxy that cannot be used is an
//! error and never gone around.

use std::net::IpAddr;

use ureq::Proxy;
use ureq::http::Uri;

use super::proxies::{Proxies, Setting};

/// What `NO_PROXY` and its like separate hosts with.
const SEPARATORS: [char; 4] = [',', ' ', '\t', '\n'];
/// Kinds of proxies, as an address of one begins.
const SCHEMES: [&str; 7] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h", "socks"];

/// A proxy that leads somewhere.
pub(super) struct Route {
    pub(super) proxy: Proxy,
    /// For a person: where it is and which variable named it.
    pub(super) name: String,
}

impl Proxies {
    /// The proxy to this address; `None` if it is asked directly.
    ///
    /// # Errors
    /// What is wrong with the proxy that is set, in words.
    pub(super) fn route(&self, address: &Uri) -> Result<Option<Route>, String> {
        let own = if address.scheme_str() == Some("https") { &self.https } else { &self.http };
        match own.as_ref().or(self.other.as_ref()) {
            Some(setting) if !self.is_direct(address) => setting.route().map(Some),
            _ => Ok(None),
        }
    }

    fn is_direct(&self, address: &Uri) -> bool {
        let host =
            address.host().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let customary = if address.scheme_str() == Some("https") { 443 } else { 80 };
        let port = address.port_u16().unwrap_or(customary);
        self.direct.split(SEPARATORS).filter(|entry| !entry.is_empty()).any(|entry| matches(entry, &host, port))
    }
}

impl Setting {
    fn route(&self) -> Result<Route, String> {
        let Setting { variable, address } = self;
        let (scheme, rest) = address.split_once("://").unwrap_or(("http", address));
        let scheme = scheme.to_ascii_lowercase();
        if !SCHEMES.contains(&scheme.as_str()) {
            let known = SCHEMES.map(|scheme| format!("{scheme}://")).join(", ");
            return Err(format!(
                "{variable} names a proxy of a kind that cannot be used, `{scheme}://`; known are {known}"
            ));
        }
        let unreadable = || format!("{variable} names no proxy that can be used: expected `{scheme}://HOST:PORT`");
        let proxy = Proxy::new(&format!("{scheme}://{rest}")).map_err(|_| unreadable())?;
        let place = proxy.uri().authority().map_or("", |authority| authority.as_str());
        let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
        let port = place.rsplit_once(':').filter(|(host, _)| !host.starts_with('[') || host.ends_with(']'));
        if proxy.host().is_empty() || port.is_some_and(|(_, digits)| digits.parse::<u16>().is_err()) {
            return Err(unreadable());
        }
        let name = format!("{scheme}://{}:{} of {variable}", proxy.host(), proxy.port());
        Ok(Route { proxy, name })
    }
}

/// Whether an entry of those asked directly means this host.
fn matches(entry: &str, host: &str, port: u16) -> bool {
    let entry = entry.to_ascii_lowercase();
    // `host:port` and `[::1]:port`; an address with several colons and no brackets has no port.
    let (name, of_port) = match entry.rsplit_once(':') {
        Some((name, digits)) if name.ends_with(']') || !name.contains(':') => (name, digits.parse::<u16>().ok()),
        _ => (entry.as_str(), None),
    };
    if of_port.is_some_and(|of_port| of_port != port) {
        return false;
    }
    let name = name.trim_matches(['[', ']']);
    if let (Some((network, bits)), Ok(address)) = (name.split_once('/'), host.parse()) {
        return network.parse().is_ok_and(|network| bits.parse().is_ok_and(|bits| is_within(address, network, bits)));
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    // `*` alone means everyone.
    if name.is_empty() {
        return entry.starts_with('*');
    }
    let name = name.trim_matches('.');
    host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

/// Whether the first `bits` of both are the same.
fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let same = |a: u128, b: u128, length: u32| bits <= length && (a ^ b).checked_shr(length - bits).unwrap_or(0) == 0;
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), u32::BITS),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), u128::BITS),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Proxies::from_variables(|name| variables.iter().find(|(found, _)| found == name).map(|(_, value)| value.into()))
    }

    fn name(variables: &[(&str, &str)], address: &str) -> Result<Option<String>, String> {
        let route = proxies(variables).route(&address.parse().unwrap())?;
        Ok(route.map(|route| route.name))
    }

    #[test]
    fn each_kind_of_address_has_its_proxy() {
        let all = [
            ("ALL_PROXY", "socks5h://s:1081"),
            ("HTTPS_PROXY", "up:8443"),
            ("https_proxy", " http://low "),
            ("HTTP_PROXY", ""),
        ];
        let of = |variables: &[(&str, &str)], address| name(variables, address).unwrap().unwrap_or_default();
        assert_eq!(of(&all, "https://hub/x"), "http://low:80 of https_proxy");
        assert_eq!(of(&all, "http://hub/x"), "socks5h://s:1081 of ALL_PROXY");
        assert_eq!(of(&all[1..], "http://hub/x"), "");
        assert_eq!(of(&all[1..2], "https://hub/x"), "http://up:8443 of HTTPS_PROXY");
        for (scheme, port) in
            [("socks4", 1080), ("socks4a", 1080), ("SOCKS5", 1080), ("socks", 1080), ("https", 443), ("http", 80)]
        {
            let expected = format!("{}://user.net:{port} of all_proxy", scheme.to_ascii_lowercase());
            let address = format!("{scheme}://me:secret@user.net");
            assert_eq!(of(&[("all_proxy", &address)], "https://hub"), expected);
        }
        assert!(!format!("{:?}", proxies(&[("all_proxy", "http://me:secret@x")])).contains("secret"));
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_without_its_password() {
        for (address, words) in [
            ("socks6://me:secret@x", "a kind that cannot be used, `socks6://`; known are http://"),
            ("ftp://x", "a kind that cannot be used, `ftp://`"),
            ("http://", "expected `http://HOST:PORT`"),
            ("socks5://me:secret@", "expected `socks5://HOST:PORT`"),
            ("http://x:port", "expected `http://HOST:PORT`"),
            ("a b", "expected `http://HOST:PORT`"),
        ] {
            let problem = name(&[("ALL_PROXY", address)], "https://hub").unwrap_err();
            assert!(problem.starts_with("ALL_PROXY names ") && problem.contains(words), "{address}: {problem}");
            assert!(!problem.contains("secret"), "{problem}");
            // One that leads nowhere we go is nobody's concern.
            assert_eq!(name(&[("http_proxy", address)], "https://hub"), Ok(None));
            assert_eq!(name(&[("ALL_PROXY", address), ("NO_PROXY", "hub")], "https://hub"), Ok(None));
        }
    }

    #[test]
    fn some_are_asked_directly() {
        let direct =
            |list: &str, address: &str| name(&[("ALL_PROXY", "x"), ("NO_PROXY", list)], address).unwrap().is_none();
        for (list, address) in [
            ("*", "https://any.where"),
            ("a.net, hub.co", "https://hub.co"),
            ("a.net hub.co", "https://HUB.co"),
            ("hub.co", "https://cdn.hub.co"),
            (".hub.co", "https://hub.co"),
            ("*.hub.co", "https://cdn.hub.co"),
            ("hub.co:443", "https://hub.co"),
            ("hub.co:8080", "http://hub.co:8080/x"),
            ("10.0.0.0/8", "http://10.1.2.3"),
            ("::1", "http://[::1]:80"),
            ("[::1]:80", "http://[::1]"),
            ("fe80::/10", "http://[fe80::1]"),
            ("0.0.0.0/0", "http://1.2.3.4"),
        ] {
            assert!(direct(list, address), "{list} {address}");
        }
        for (list, address) in [
            ("", "https://hub.co"),
            ("hub.co", "https://myhub.co"),
            ("cdn.hub.co", "https://hub.co"),
            ("hub.co:80", "https://hub.co"),
            ("10.0.0.0/8", "http://11.1.2.3"),
            ("10.0.0.0/99", "http://10.1.2.3"),
            ("10.0.0.0/8", "http://ten.net"),
            ("::/0", "http://1.2.3.4"),
            (",", "https://hub.co"),
        ] {
            assert!(!direct(list, address), "{list} {address}");
        }
    }
}
