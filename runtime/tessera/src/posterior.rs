//! What the encoder says of the latents: a normal distribution for each value, whose mean or a draw
//! from which is taken; of some models the value itself.
//!
//! The arithmetic of diffusers' `DiagonalGaussianDistribution`: a draw is mean +
//! exp(clamp(log-variance, -30, 20) / 2) * noise. The noise is ours: no two frameworks draw alike.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::media::FrameBlock;

/// Where diffusers cuts off a log-variance.
const LOG_VARIANCE: (f32, f32) = (-30.0, 20.0);

/// What to take of the distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Draw {
    /// Its mean.
    #[default]
    Mean,
    /// A draw; the same seed gives the same noise on every machine: see [`Noise`].
    Sample {
        /// Names the noise.
        seed: u64,
    },
}

/// Standard normal numbers in a fixed order: ChaCha with 20 rounds (RFC 8439's function with a
/// counter of 64 bits), its key the seed's eight bytes, least significant first, and zeros, its
/// stream number 0. Of its numbers of 64 bits each pair x, y gives two normal ones by Box and
/// Muller's formula: r cos(a) and r sin(a) with r = sqrt(-2 ln(((x >> 11) + 1) / 2^53)) and
/// a = 2 pi (y >> 11) / 2^53, computed in f64 by functions that do not depend on the machine.
#[derive(Debug, Clone)]
pub struct Noise {
    bits: ChaCha20Rng,
    /// The second of a pair.
    second: Option<f64>,
}

impl Noise {
    /// The noise of a seed, from its first number.
    pub fn new(seed: u64) -> Noise {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Noise { bits: ChaCha20Rng::from_seed(key), second: None }
    }
}

impl Iterator for Noise {
    type Item = f64;

    /// Never ends.
    fn next(&mut self) -> Option<f64> {
        if let Some(second) = self.second.take() {
            return Some(second);
        }
        // Whole numbers below 2^53 are exact.
        let share = |bits: u64| bits as f64 / (1u64 << 53) as f64;
        let (x, y) = (self.bits.next_u64() >> 11, self.bits.next_u64() >> 11);
        let radius = (-2.0 * libm::log(share(x + 1))).sqrt();
        let (sin, cos) = libm::sincos(std::f64::consts::TAU * share(y));
        self.second = Some(radius * sin);
        Some(radius * cos)
    }
}

/// Turns moments into latents, block by block in the order of frames.
#[derive(Debug, Clone)]
pub struct Posterior {
    noise: Option<Noise>,
    /// Channels of the latents, and of the moments.
    channels: [usize; 2],
}

impl Posterior {
    /// What `draw` takes, of moments of so many channels, of latents of so many. Where those are as
    /// many, moments are the latents, and there is nothing to draw.
    pub fn new(draw: Draw, latents: usize, moments: usize) -> Posterior {
        let noise = match draw {
            Draw::Sample { seed } if latents != moments => Some(Noise::new(seed)),
            _ => None,
        };
        Posterior { noise, channels: [latents, moments] }
    }

    /// The latents [C, T, H, W] of moments [2 C, T, H, W]: first the means of all channels, then the
    /// log-variances. Noise is used up in the order frame, channel, row, column, so that it does not
    /// matter how frames are cut into blocks.
    pub fn latents(&mut self, moments: &FrameBlock<'_>) -> Vec<f32> {
        let [channels, all] = self.channels;
        let volume = moments.data.len() / all;
        let (means, log_variances) = moments.data.split_at(channels * volume);
        let mut latents = means.to_vec();
        let Some(noise) = &mut self.noise else { return latents };
        let plane = volume / moments.frames;
        for t in 0..moments.frames {
            for c in 0..channels {
                let image = c * volume + t * plane..c * volume + (t + 1) * plane;
                let values = latents[image.clone()].iter_mut().zip(&log_variances[image]);
                for ((value, &log_variance), noise) in values.zip(&mut *noise) {
                    let log_variance = log_variance.clamp(LOG_VARIANCE.0, LOG_VARIANCE.1);
                    let deviation = libm::exp(0.5 * f64::from(log_variance));
                    *value = (f64::from(*value) + deviation * noise) as f32;
                }
            }
        }
        latents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_normal_and_always_the_same() {
        let noise: Vec<f64> = Noise::new(7).take(100_000).collect();
        let moment = |power: i32| noise.iter().map(|value| value.powi(power)).sum::<f64>() / noise.len() as f64;
        for (power, expected) in [(1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)] {
            assert!((moment(power) - expected).abs() < 0.05, "moment {power}: {}", moment(power));
        }
        assert!(Noise::new(7).take(100).eq(noise.iter().copied().take(100)));
        assert_ne!(Noise::new(8).next(), Noise::new(7).next());
        // The first numbers of seed 0, whose key is the one of the cipher's published test vectors
        // (RFC 8439, A.1, vector 1): its first bytes are 76 b8 e0 ad a0 f1 3d 90 40 5d 6a e5 53 86
        // bd 28.
        let (x, y) = (0x903d_f1a0_ade0_b876_u64 >> 11, 0x28bd_8653_e56a_5d40_u64 >> 11);
        let radius = (-2.0 * ((x + 1) as f64 / (1u64 << 53) as f64).ln()).sqrt();
        let angle = std::f64::consts::TAU * y as f64 / (1u64 << 53) as f64;
        let found: Vec<f64> = Noise::new(0).take(2).collect();
        assert!((found[0] - radius * angle.cos()).abs() < 1e-12 && (found[1] - radius * angle.sin()).abs() < 1e-12);
    }

    #[test]
    fn what_has_no_variance_is_taken_as_it_is() {
        let latents = [0.0, 1.0, 2.0, 3.0];
        let block = FrameBlock { data: &latents, frames: 1 };
        for draw in [Draw::Mean, Draw::Sample { seed: 1 }] {
            assert_eq!(Posterior::new(draw, 4, 4).latents(&block), latents);
        }
    }

    #[test]
    fn a_draw_is_the_mean_and_so_much_noise() {
        // Two channels, three frames, one pixel; means 0 to 5, log-variances of ln 4 and beyond
        // both ends.
        let four = 4.0_f32.ln();
        let moments = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, four, four, four, four, -100.0, 100.0];
        let block = FrameBlock { data: &moments, frames: 3 };
        assert_eq!(Posterior::new(Draw::Mean, 2, 4).latents(&block), &moments[..6]);
        let drawn = Posterior::new(Draw::Sample { seed: 1 }, 2, 4).latents(&block);
        let noise: Vec<f64> = Noise::new(1).take(6).collect();
        // Frames first: the second number is the second channel's first frame.
        let expected = [
            2.0 * noise[0],
            1.0 + 2.0 * noise[2],
            2.0 + 2.0 * noise[4],
            3.0 + 2.0 * noise[1],
            4.0,
            5.0 + 10.0_f64.exp() * noise[5],
        ];
        for (found, expected) in drawn.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{found}, {expected}");
        }
        // In other blocks the same.
        let mut posterior = Posterior::new(Draw::Sample { seed: 1 }, 2, 4);
        let pick = |frames: std::ops::Range<usize>| -> Vec<f32> {
            moments.chunks(3).flat_map(|channel| channel[frames.clone()].to_vec()).collect()
        };
        let first = posterior.latents(&FrameBlock { data: &pick(0..1), frames: 1 });
        let rest = posterior.latents(&FrameBlock { data: &pick(1..3), frames: 2 });
        assert_eq!([first[0], rest[0], rest[1], first[1], rest[2], rest[3]], drawn[..]);
    }
}
