//! What of a video comes back from its latents: whole latents of height and width, and as many
//! frames as the decoder makes.

use frontend::Autoencoder;
use serde_json::{Value, json};
use tessera::media::ClipShape;

/// A clip's frames, height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) frames: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Extent {
    pub(super) fn of(clip: ClipShape) -> Extent {
        Extent { frames: clip.frames, height: clip.height, width: clip.width }
    }

    /// What a clip like this comes back as.
    pub(super) fn returned(self, model: &dyn Autoencoder) -> Extent {
        let [height, width] = [self.height, self.width].map(|size| model.sample_size(model.latent_size(size)));
        Extent { frames: model.decoded_frames(model.encoded_frames(self.frames)), height, width }
    }

    pub(super) fn json(self) -> Value {
        json!({"frames": self.frames, "height": self.height, "width": self.width})
    }

    /// Of something that is done to the whole clip, such as encoding it: a line for each way in
    /// which it comes back otherwise.
    pub(super) fn losses(self, model: &dyn Autoencoder) -> Vec<String> {
        let Extent { frames, height, width } = self.returned(model);
        let mut lines = vec![];
        if (height, width) != (self.height, self.width) {
            let cut: Vec<String> =
                [(self.width.saturating_sub(width), "column"), (self.height.saturating_sub(height), "row")]
                    .into_iter()
                    .filter(|&(cut, _)| cut > 0)
                    .map(|(cut, what)| if cut == 1 { what.to_owned() } else { counted(cut, what) })
                    .collect();
            // Some models round sizes up.
            let what = match cut.as_slice() {
                [] => "they come back as".to_owned(),
                cut => format!("without the last {} they are", cut.join(" and the last ")),
            };
            lines.push(format!(
                "frames of {}x{} (width x height) are no multiples of {}: {what} {width}x{height}",
                self.width,
                self.height,
                model.spatial_compression(),
            ));
        }
        if frames != self.frames {
            let verb = if self.frames == 1 { "comes" } else { "come" };
            lines.push(format!("{} {verb} back from the latents as {frames}", counted(self.frames, "frame")));
        }
        lines
    }
}

/// `1 frame`, `4 frames`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_are_rounded_up_are_told() {
        let all = frontend::published().iter().map(|model| frontend::read_config(model.config).unwrap().0);
        let rounds_up = |model: &dyn Autoencoder| model.sample_size(model.latent_size(33)) > 33;
        let model = all.into_iter().find(|model| rounds_up(&**model)).expect("a model that rounds up");
        let line = Extent { frames: 1, height: 33, width: 48 }.losses(&*model).swap_remove(0);
        assert_eq!(line, "frames of 48x33 (width x height) are no multiples of 8: they come back as 48x40");
    }

    #[test]
    fn what_is_lost_is_told() {
        let (model, _) = frontend::read_config(frontend::published()[0].config).unwrap();
        let extent = |frames, height, width| Extent { frames, height, width };
        assert_eq!(extent(49, 480, 720).losses(&*model), Vec::<String>::new());
        assert_eq!(extent(4, 33, 45).returned(&*model), extent(1, 32, 40));
        assert_eq!(
            extent(4, 33, 45).losses(&*model),
            [
                "frames of 45x33 (width x height) are no multiples of 8: without the last 5 columns and the last row \
                 they are 40x32",
                "4 frames come back from the latents as 1"
            ]
        );
        assert_eq!(extent(9, 32, 41).losses(&*model).len(), 1);
    }
}
