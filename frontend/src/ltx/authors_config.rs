//! The configuration that the authors' files carry: LTX's single files have it in their metadata, in
//! fields of the authors' own code (`CausalVideoAutoencoder`). Of it is taken what tensors do not
//! show; what they do is read off them.

use serde_json::Value;

use crate::config_json::Fields;

/// Fields that both codes call by one name.
const SAME: [&str; 3] = ["patch_size", "timestep_conditioning", "scaling_factor"];

/// Fields that are called otherwise here, each behind those that it is more special than.
const RENAMED: [(&str, &str); 6] = [
    ("causal_encoder", "encoder_causal"),
    ("causal_decoder", "decoder_causal"),
    ("spatial_padding_mode", "encoder_spatial_padding_mode"),
    ("spatial_padding_mode", "decoder_spatial_padding_mode"),
    ("encoder_spatial_padding_mode", "encoder_spatial_padding_mode"),
    ("decoder_spatial_padding_mode", "decoder_spatial_padding_mode"),
];

/// The fields of diffusers' classes that a configuration of the authors' tells; `None` where it is
/// none of theirs.
pub(crate) fn fields(config: &Fields) -> Option<Fields> {
    let blocks = config.get("decoder_blocks").or_else(|| config.get("blocks"))?.as_array()?;
    let renamed = SAME.map(|name| (name, name)).into_iter().chain(RENAMED);
    let told = renamed.filter_map(|(theirs, own)| Some((own.to_owned(), config.get(theirs)?.clone())));
    let mut told: Fields = told.collect();
    told.insert("upsample_residual".to_owned(), residual(blocks).into());
    Some(told)
}

/// Whether the input of each level's sampler is led around it, from the highest resolution down, as
/// the authors list the decoder's modules too: `[name, parameters]` each, the last of them in front
/// of all levels.
fn residual(blocks: &[Value]) -> Vec<bool> {
    let mut levels: Vec<bool> = vec![];
    for block in blocks {
        match (block[0].as_str(), levels.last_mut()) {
            (Some("res_x"), _) => levels.push(false),
            (Some(name), Some(level)) if name.starts_with("compress_") => {
                *level = block[1]["residual"].as_bool().unwrap_or(false);
            }
            _ => {}
        }
    }
    levels.pop();
    levels
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_tensors_do_not_show_is_told() {
        let config = json!({
            "_class_name": "CausalVideoAutoencoder", "dims": 3, "latent_channels": 128, "patch_size": 4,
            "causal_decoder": false, "spatial_padding_mode": "zeros", "decoder_spatial_padding_mode": "reflect",
            "decoder_blocks": [
                ["res_x", {"num_layers": 4}], ["compress_space", {"multiplier": 2}], ["res_x", 3],
                ["compress_all", {"residual": true, "multiplier": 2}], ["res_x", 2], ["res_x_y", 1], ["res_x", 2],
            ],
        });
        let found = fields(config.as_object().unwrap()).unwrap();
        let expected = json!({
            "patch_size": 4, "decoder_causal": false, "encoder_spatial_padding_mode": "zeros",
            "decoder_spatial_padding_mode": "reflect", "upsample_residual": [false, true, false],
        });
        assert_eq!(Value::Object(found), expected);
        assert_eq!(fields(json!({"latent_channels": 4}).as_object().unwrap()), None);
    }
}
