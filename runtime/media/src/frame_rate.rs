//! A clip's frame rate as the exact fraction that containers store.

use std::fmt;

use crate::error::{Error, Result};

/// Frames a second, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRate {
    frames: u32,
    seconds: u32,
}

impl FrameRate {
    /// The fraction for a number such as 8, 12.5 or 23.976: whole numbers as they are, the NTSC
    /// rates n * 1000 / 1001 as those, others in thousandths.
    ///
    /// # Errors
    /// [`Error::InvalidClip`] unless 0.01 <= `fps` <= 1000.
    pub fn new(fps: f64) -> Result<FrameRate> {
        if !(0.01..=1000.0).contains(&fps) {
            return Err(Error::InvalidClip { problem: format!("{fps} frames a second; expected 0.01 to 1000") });
        }
        let whole = fps.round();
        let ntsc = (fps * 1.001).round();
        Ok(if fps == whole {
            FrameRate { frames: whole as u32, seconds: 1 }
        } else if (fps * 1.001 - ntsc).abs() < 0.005 && fps > 1.0 {
            FrameRate { frames: ntsc as u32 * 1000, seconds: 1001 }
        } else {
            FrameRate { frames: (fps * 1000.0).round() as u32, seconds: 1000 }
        })
    }

    /// Numerator: this many frames in [`Self::seconds`] seconds. Never 0.
    pub fn frames(self) -> u32 {
        self.frames
    }

    /// Denominator. Never 0.
    pub fn seconds(self) -> u32 {
        self.seconds
    }

    /// Frames in a second, as a number.
    pub fn per_second(self) -> f64 {
        f64::from(self.frames) / f64::from(self.seconds)
    }

    /// When frame `index` begins, in units of 1 / `unit` seconds, rounded.
    #[cfg(feature = "codecs")]
    pub(crate) fn start(self, index: u64, unit: u64) -> u64 {
        let (frames, seconds) = (u128::from(self.frames), u128::from(self.seconds));
        ((u128::from(index) * seconds * u128::from(unit) + frames / 2) / frames) as u64
    }
}

/// Frames a second to three digits behind the point, as few as there are: `8`, `23.976`.
impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", (self.per_second() * 1000.0).round() / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_rates_are_exact() {
        let fraction = |fps| FrameRate::new(fps).map(|rate| (rate.frames, rate.seconds)).ok();
        assert_eq!(fraction(8.0), Some((8, 1)));
        assert_eq!(fraction(12.5), Some((12500, 1000)));
        assert_eq!(fraction(23.976), Some((24000, 1001)));
        assert_eq!(fraction(29.97), Some((30000, 1001)));
        assert_eq!(fraction(0.5), Some((500, 1000)));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert_eq!(fraction(bad), None);
        }
        #[cfg(feature = "codecs")]
        assert_eq!(FrameRate::new(8.0).unwrap().start(3, 100), 38);
        let shown = |fps| FrameRate::new(fps).unwrap().to_string();
        assert_eq!((shown(8.0), shown(23.976), shown(0.5)), ("8".into(), "23.976".into(), "0.5".into()));
    }
}
