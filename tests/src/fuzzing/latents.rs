//! Latents and files of activations: refused, or finite numbers in the shape that they say.

use tessera::latents::Stored;
use tessera::{Latents, LatentsLayout};
use workbench::tap_file::TapFile;

use super::with_file;

/// Reads `bytes` as latents of models with 2 and with 4 channels in every layout, and as
/// activations.
///
/// # Panics
/// When values are not finite, or not as many as the shape says.
pub fn run(bytes: &[u8]) {
    with_file("safetensors", bytes, |path| {
        let source = path.to_str().expect("a path in UTF-8");
        for channels in [2, 4] {
            for layout in [LatentsLayout::Auto, LatentsLayout::Bcthw, LatentsLayout::Btchw, LatentsLayout::Bchw] {
                for unscaled in [false, true] {
                    let Ok(latents) = Latents::read(source, layout, channels, unscaled) else { continue };
                    assert_eq!(latents.shape[1], channels);
                    assert_eq!(latents.data.len(), latents.shape.iter().product::<usize>());
                    assert!(latents.data.iter().all(|value| value.is_finite()));
                    let corner = latents.corner(1, 2, 3);
                    assert_eq!(corner.data.len(), corner.shape.iter().product::<usize>());
                }
            }
            let _ = Stored::read(source, channels);
        }
        if let Ok(taps) = TapFile::open(path) {
            assert!(!taps.modules().is_empty());
            let model = frontend::read_config(frontend::published()[0].config).expect("a published model").0;
            let (_, _) = (taps.half(), taps.tiling(&*model));
            let _ = taps.input();
            let _ = taps.output();
            for module in taps.modules() {
                let _ = taps.activation(&module, 0, 0, &[1, 4, 1, 1, 1]);
            }
        }
    });
}
