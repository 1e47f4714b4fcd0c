//! Tiles from outside: how many programs a tiled clip takes, and that encoding from a stream is
//! encoding.

use tessera::media::ClipShape;
use tessera::{Latents, RunOptions, TilingChoice, Vae, Video};
use tests::goldens;

fn noise(shape: [usize; 5]) -> Vec<f32> {
    (0..shape.iter().product::<usize>()).map(|i| ((i * 7919 % 10_007) as f32 / 5003.5) - 1.0).collect()
}

/// The grid of the published model at 480x720: nine tiles of four shapes. Of each there are two
/// programs.
#[test]
fn a_tiled_clip_takes_eight_programs() {
    let vae = Vae::open(&goldens().join("two-level")).expect("the checkpoint opens");
    let shape = [1, vae.model().channels().latents, 7, 60, 90];
    let latents = Latents { data: noise(shape), shape };
    // The same latents as of 480x720 pixels: two levels halve once where the published model halves
    // three times.
    let options = RunOptions::default().with_tiling(TilingChoice::Size { height: 60, width: 90 });
    let report = vae.decode(&latents, &options, &mut |_, _| Ok(()), &mut ()).expect("it decodes");
    assert_eq!((report.tiling.rows, report.tiling.columns), (3, 3));
    // 7 latent frames fall into 3 + 2 + 2.
    assert_eq!(report.program_runs, 9 * 3);
    assert!(report.programs_compiled <= 8, "{} programs", report.programs_compiled);
}

#[test]
fn a_stream_encodes_as_a_clip_does() {
    let vae = Vae::open(&goldens().join("two-level")).expect("the checkpoint opens");
    let shape = [2, vae.model().channels().input, 17, 12, 10];
    let clip = Video { data: noise(shape), shape };
    let (expected, _) = vae.encode(&clip, &RunOptions::default(), &mut ()).expect("it encodes");

    let [batch, channels, frames, height, width] = shape;
    let clip_shape = ClipShape { batch, channels, frames, height, width };
    let plane = height * width;
    let mut given = vec![0; batch];
    let mut next = |sample: usize, count: usize| {
        let first = given[sample];
        given[sample] += count;
        let block = (0..channels).flat_map(|channel| {
            let start = ((sample * channels + channel) * frames + first) * plane;
            clip.data[start..start + count * plane].iter().copied()
        });
        Ok(block.collect())
    };
    let moments = vae.encoded_shape(&clip_shape).expect("a valid clip");
    assert_eq!(moments.axes(), expected.shape);
    let mut found = vec![vec![vec![]; moments.channels]; batch];
    let mut sink = |sample: usize, block: &tessera::media::FrameBlock<'_>| {
        let sample: &mut Vec<Vec<f32>> = &mut found[sample];
        for (channel, values) in block.data.chunks_exact(block.data.len() / moments.channels).enumerate() {
            sample[channel].extend_from_slice(values);
        }
        Ok(())
    };
    vae.encode_stream(&clip_shape, &mut next, &RunOptions::default(), &mut sink, &mut ()).expect("it encodes");
    assert!(found.concat().concat() == expected.data);
    assert_eq!(given, [17, 17]);

    let mut short = |_: usize, _: usize| Ok(vec![0.0; 7]);
    let refused = vae.encode_stream(&clip_shape, &mut short, &RunOptions::default(), &mut |_, _| Ok(()), &mut ());
    let message = refused.expect_err("too few values").to_string();
    assert!(message.contains("frames 0 to 8 of sample 0 came as 7 values, expected 3240"), "{message}");
}
