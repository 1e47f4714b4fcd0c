//! The proxies that are set, by the variables that most programs follow. Which of them leads to an
//! address is in `route`.
//!
//! `https_proxy` is for `https` addresses, `http_proxy` for `http` ones, `all_proxy` for what has
//! none of its own; each name in small letters comes before the one in capitals. `no_proxy` lists
//! who is asked directly.

use std::ffi::OsString;
use std::fmt;

/// The proxies that are set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    pub(super) http: Option<Setting>,
    pub(super) https: Option<Setting>,
    pub(super) other: Option<Setting>,
    /// Who is asked directly, as written.
    pub(super) direct: String,
}

/// A proxy as it is set. Its address may hold a password, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) variable: &'static str,
    pub(super) address: String,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Setting").field(&self.variable).finish()
    }
}

impl Proxies {
    /// The proxies that these variables name.
    pub(super) fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Proxies {
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                let address = variable(name)?.to_string_lossy().trim().to_owned();
                (!address.is_empty()).then_some(Setting { variable: name, address })
            })
        };
        Proxies {
            http: first(["http_proxy", "HTTP_PROXY"]),
            https: first(["https_proxy", "HTTPS_PROXY"]),
            other: first(["all_proxy", "ALL_PROXY"]),
            direct: first(["no_proxy", "NO_PROXY"]).map_or(String::new(), |setting| setting.address),
        }
    }
}
