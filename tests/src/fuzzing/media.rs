//! Clips and pictures of every format that is read here: refused, or frames of the shape that was
//! promised.

use tessera::media::read::{ReadOptions, open_without_ffmpeg};

use super::with_file;

/// Pixels of a frame and frames of a clip that are looked at, at most: more would only take longer.
const PIXELS: usize = 1 << 16;
const FRAMES: usize = 8;

/// Reads `bytes` as what their first bytes say they are, as they come and resized.
///
/// # Panics
/// When a block of frames is not of the clip's shape, or there are fewer or more of them than were
/// promised.
pub fn run(bytes: &[u8]) {
    let Some(ending) = ending(bytes) else { return };
    with_file(ending, bytes, |path| {
        let resized = ReadOptions::default().with_size((6, 10));
        for options in [ReadOptions::default(), resized] {
            let Ok(mut clip) = open_without_ffmpeg(path, options) else { return };
            let shape = clip.shape();
            assert!(![shape.batch, shape.channels, shape.height, shape.width].contains(&0), "{shape:?}");
            if shape.channels.saturating_mul(shape.height).saturating_mul(shape.width) > PIXELS {
                return;
            }
            let (mut sample, mut frames) = (0, 0);
            while sample == 0 && frames < FRAMES {
                let block = match clip.read(3) {
                    Ok(Some(block)) => block,
                    Ok(None) => {
                        assert!(shape.frames.is_none_or(|promised| promised == frames), "{frames} of {shape:?}");
                        break;
                    }
                    Err(_) => break,
                };
                assert_eq!(block.data.len(), shape.channels * block.frames * shape.height * shape.width);
                assert!((1..=3).contains(&block.frames) && block.data.iter().all(|value| value.is_finite()));
                (sample, frames) = (block.sample, frames + block.frames);
            }
        }
    });
}

/// The ending that a file of such a beginning should have.
fn ending(bytes: &[u8]) -> Option<&'static str> {
    const BEGINNINGS: [(&[u8], &str); 6] = [
        (b"GIF8", "gif"),
        (b"RIFF", "webp"),
        (b"YUV4", "y4m"),
        (b"\x89PNG", "png"),
        (b"\xff\xd8", "jpg"),
        (b"\x93NUMPY", "npy"),
    ];
    let known = BEGINNINGS.iter().find(|(beginning, _)| bytes.starts_with(beginning)).map(|&(_, ending)| ending);
    // Behind a length: the first box, or JSON.
    known.or(match bytes.get(4..9)? {
        [b'f' | b'm' | b'w' | b's', b't' | b'o' | b'd' | b'i' | b'k', _, _, _] => Some("mp4"),
        [_, _, _, _, b'{'] => Some("safetensors"),
        _ => None,
    })
}
