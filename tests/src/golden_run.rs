//! A golden case of `goldens/models` as something to run: its input in the axes of a clip, the options
//! that it was run by, and what comes out in the axes of the reference.
//!
//! Reading cases is in the crate's root; what a case is run on is the tests' to say.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use frontend::{Autoencoder, Half, TIMESTEP};
use tessera::conditions::{Conditions, NoiseSource};
use tessera::{FrameTiling, FrameTilingChoice, Observer, Overlap, RunInput, RunOptions, TilingChoice, Vae};

use crate::{Case, MAXIMUM_BOUND, MEAN_BOUND, Tensor, Tiles, errors, goldens};

/// The names of the models that have cases, in order.
///
/// # Panics
/// When their folders cannot be read.
pub fn models() -> Vec<String> {
    let folders = fs::read_dir(goldens().join("models")).expect("golden cases").map(|entry| entry.expect("an entry"));
    let folders = folders.filter(|entry| entry.path().join("config.json").is_file());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().expect("a name")).collect();
    names.sort_unstable();
    names
}

/// Checks a result against `expected` within the bounds of golden cases, of the largest value where
/// that is over 1.
///
/// # Panics
/// When it is outside, naming `what`.
pub fn assert_near(what: &str, expected: &Tensor, found: &[f32]) {
    assert_within(what, expected, found, [MEAN_BOUND, MAXIMUM_BOUND]);
}

/// [`assert_near`] with these bounds of the mean and the maximum.
///
/// # Panics
/// When it is outside, naming `what`.
pub fn assert_within(what: &str, expected: &Tensor, found: &[f32], [mean_bound, maximum_bound]: [f64; 2]) {
    let largest = expected.data.iter().fold(1.0_f64, |largest, value| largest.max(f64::from(value.abs())));
    let (mean, maximum) = errors(&expected.data, found);
    let (mean, maximum) = (mean / largest, maximum / largest);
    assert!(
        mean <= mean_bound && maximum <= maximum_bound,
        "{what}: mean error {mean:.2e} (at most {mean_bound:.0e}), maximum {maximum:.2e} (at most {maximum_bound:.0e})"
    );
    println!("{what}: mean error {mean:.2e}, maximum {maximum:.2e}");
}

/// The half that a case runs.
pub fn half(case: &Case) -> Half {
    if case.op() == "decode" { Half::Decoder } else { Half::Encoder }
}

/// [B, C, T, H, W] of a case's input: of one of images, of clips of as many frames as the case says.
///
/// # Panics
/// When it has neither four nor five axes.
pub fn input_shape(case: &Case) -> [usize; 5] {
    let frames = case.frames_of_images();
    match case.tensors["input"].shape[..] {
        [b, c, h, w] => [b / frames, c, frames, h, w],
        ref shape => shape.try_into().expect("four or five axes"),
    }
}

/// A case's input, [B, C, T, H, W].
pub fn input(case: &Case) -> Vec<f32> {
    let data = &case.tensors["input"].data;
    let [_, channels, frames, height, width] = input_shape(case);
    if case.frames_of_images() > 1 { swapped(data, [frames, channels], height * width) } else { data.clone() }
}

/// What came out of a case, [B, C, T, H, W], as the reference has it: images one behind the other
/// where it takes a clip as those.
pub fn as_the_reference(case: &Case, found: Vec<f32>) -> Vec<f32> {
    match (case.frames_of_images(), &case.tensors["output"].shape[..]) {
        (frames @ 2.., &[_, channels, height, width]) => swapped(&found, [channels, frames], height * width),
        _ => found,
    }
}

/// Values [A, B, C, planes] as [A, C, B, planes].
fn swapped(data: &[f32], [b, c]: [usize; 2], plane: usize) -> Vec<f32> {
    let mut swapped = Vec::with_capacity(data.len());
    for block in data.chunks_exact(b * c * plane) {
        for (j, i) in (0..c).flat_map(|j| (0..b).map(move |i| (j, i))) {
            swapped.extend_from_slice(&block[(i * c + j) * plane..][..plane]);
        }
    }
    swapped
}

/// The timestep and the noise that a case holds.
fn conditions(case: &Case) -> Conditions {
    let mut conditions = Conditions::default();
    if let Some(timestep) = case.tensors.get("temb") {
        conditions = conditions.with_numbers(TIMESTEP, timestep.data.clone());
    }
    let planes = case.tensors.iter().filter(|(name, _)| name.starts_with("noise."));
    let planes: BTreeMap<String, Vec<f32>> = planes.map(|(name, plane)| (name.clone(), plane.data.clone())).collect();
    if planes.is_empty() { conditions } else { conditions.with_noise(NoiseSource::Given(Arc::new(planes))) }
}

/// The tiles along time of a case, where the reference cuts clips by itself or was told to.
fn frame_tiling(model: &dyn Autoencoder, case: &Case, half: Half) -> FrameTilingChoice {
    let usual = model.frame_tile_rule(half).is_some_and(|rule| rule.usual);
    match case.framewise() {
        Some(false) => FrameTilingChoice::Off,
        None if !usual => FrameTilingChoice::Off,
        _ => match (case.frame_tiles(), FrameTiling::of(model, half)) {
            (Some([frames, stride]), _) => FrameTilingChoice::Of(FrameTiling { frames, stride }),
            (None, usual) => FrameTilingChoice::Of(usual.expect("the model has tiles along time")),
        },
    }
}

/// `options` with the tiles, conditions and frames to keep that a case was run by.
///
/// # Panics
/// When the metadata is not as the goldens' README has it.
pub fn options_of(model: &dyn Autoencoder, case: &Case, mut options: RunOptions) -> RunOptions {
    options.tiling = match case.tiles() {
        Tiles::Off => TilingChoice::Off,
        Tiles::Usual => TilingChoice::Usual,
        Tiles::Overlapping { size: [height, width], overlap } => {
            options.overlap = Some(Overlap { height: overlap, width: overlap });
            TilingChoice::Size { height, width }
        }
        Tiles::Strided { size, stride } => {
            // Where the reference counts in patches when it encodes, its tiles are larger than it says.
            let rule = |half| model.tile_rule(half).size[0];
            let [size, stride] =
                [size, stride].map(|pair| pair.map(|pixels| pixels * rule(half(case)) / rule(Half::Decoder)));
            TilingChoice::Strided { size, stride }
        }
    };
    options.frame_tiling = frame_tiling(model, case, half(case));
    options.conditions = conditions(case);
    options.keep_all_frames = case.keeps_all_frames();
    options
}

/// Runs a case; what comes out, [B, C, T, H, W], or images as the reference has them.
///
/// # Panics
/// When the run fails.
pub fn run(vae: &Vae, case: &Case, options: RunOptions, observer: &mut dyn Observer) -> Vec<f32> {
    let options = options_of(vae.model(), case, options);
    let input = RunInput::of(half(case), input(case), input_shape(case));
    let (found, _) = input.run(vae, &options, observer).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    as_the_reference(case, found.data)
}
