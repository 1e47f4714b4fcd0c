//! What stands in for fetching in a build without the feature `hub`.

use std::path::{Path, PathBuf};

use super::download::OnDownload;
use super::id::HubId;
use super::settings::HubOptions;
use crate::error::{Error, Result};
use crate::model_files::ModelFiles;

/// [`Error::NoHub`].
pub(crate) fn fetch(id: &HubId, _: Option<&Path>, _: &HubOptions, _: &mut OnDownload<'_>) -> Result<ModelFiles> {
    Err(Error::NoHub { model: id.to_string() })
}

/// [`Error::NoHub`].
pub(crate) fn fetch_config(id: &HubId, _: &HubOptions, _: &mut OnDownload<'_>) -> Result<PathBuf> {
    Err(Error::NoHub { model: id.to_string() })
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use crate::hub::HubOptions;
    use crate::model::{ModelSpec, resolve, resolve_config};

    #[test]
    fn an_id_is_refused_by_what_this_build_is() {
        let options = HubOptions::from_variables(|_| None, Some("/home/me".into()), |_| None).unwrap();
        let spec = ModelSpec::parse("owner/name@v1", None).unwrap();
        let of_model = resolve(&spec, &options, &mut |_| ControlFlow::Continue(())).unwrap_err();
        let of_config = resolve_config(&spec, &options, &mut |_| ControlFlow::Continue(())).unwrap_err();
        for message in [of_model.to_string(), of_config.to_string()] {
            assert!(message.starts_with("owner/name@v1: ") && message.contains("this build has no hub"), "{message}");
            assert!(message.contains("name a folder or a file"), "{message}");
        }
    }
}
