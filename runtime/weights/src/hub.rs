//! Models from the hub: an id such as `owner/name@revision` becomes files in the cache that
//! Python's hub client keeps too.
//!
//! | file | what is in it |
//! |---|---|
//! | `id` | ids: owner, name, revision |
//! | `settings`, `proxies` | what the environment says of hub and cache; through whom the hub is asked |
//! | `cached_folder` | folders of the cache that someone names as a model |
//! | `download` | how far a download has come |
//! | `fetch` | in which order files are looked for, and what is done where the hub gives nothing |
//! | `client`, `route` | requests; the proxy to an address |
//! | `cache` | the cache filled |
//! | `failure` | what a failure means |
//!
//! The last four rows are there with the feature `hub`; without it, in their place, `absent` says
//! so.

#[cfg(not(feature = "hub"))]
mod absent;
#[cfg(feature = "hub")]
mod cache;
mod cached_folder;
#[cfg(feature = "hub")]
mod client;
mod download;
#[cfg(feature = "hub")]
mod failure;
#[cfg(all(test, feature = "hub"))]
mod fallback_tests;
#[cfg(feature = "hub")]
mod fetch;
mod id;
mod proxies;
#[cfg(feature = "hub")]
mod route;
mod settings;
#[cfg(all(test, feature = "hub"))]
mod test_server;
#[cfg(all(test, feature = "hub"))]
mod tests;

pub use download::{Download, OnDownload};
pub use id::HubId;
pub use proxies::Proxies;
pub use settings::{HubOptions, Token};

#[cfg(not(feature = "hub"))]
pub(crate) use absent::{fetch, fetch_config};
pub(crate) use cached_folder::snapshot_folder;
#[cfg(feature = "hub")]
pub(crate) use fetch::{fetch, fetch_config};
