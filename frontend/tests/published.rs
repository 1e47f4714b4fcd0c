//! The published models: what their checkpoints hold.

use frontend::{Half, parameters, published, read_config};

#[test]
fn published_models_have_their_tensors() {
    let expected = [
        ("CogVideoX", 436, 215_583_907),
        ("Wan-2.1", 194, 126_892_531),
        ("Wan-2.2", 196, 704_688_668),
        ("Qwen-Image", 194, 126_892_531),
        ("Qwen-Image-2.1", 226, 330_987_188),
        ("HunyuanVideo", 248, 246_478_803),
        ("HunyuanVideo-1.5", 218, 1_260_634_115),
        ("Mochi-1", 437, 459_748_611),
        ("SVD", 374, 97_742_847),
        ("Cosmos-1.0", 310, 105_653_696),
        ("Allegro", 704, 174955751),
        ("EasyAnimate-5", 228, 244_375_507),
        ("SD-1.5", 248, 83_653_863),
        ("SDXL", 248, 83_653_863),
        ("SD-3", 244, 83_819_683),
        ("FLUX.1", 244, 83_819_683),
        ("FLUX.2", 248, 84_046_115),
        ("Sana", 375, 312_250_275),
        ("TAESD", 134, 2_445_063),
        ("TAEW2.1", 128, 11_315_539),
        ("TAEW2.2", 128, 11_418_108),
        ("TAEHV-1.5", 128, 11_372_012),
        ("TAELTX-2", 128, 11_759_728),
        ("TAEF1", 134, 2_458_899),
        ("LTX-Video-0.9.0", 188, 419_193_649),
        ("LTX-Video-0.9.1", 292, 934_976_434),
        ("LTX-Video-0.9.5", 224, 1_246_913_522),
        ("LTX-2", 182, 1_222_479_601),
        ("LTX-2.3", 168, 726_105_969),
    ];
    let found = published().iter().map(|published| {
        let (model, _) = read_config(published.config).unwrap();
        let halves = Half::ALL.map(|half| parameters(&*model, half).unwrap());
        let elements = halves.iter().flatten().map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>();
        (published.name, halves.iter().flatten().count(), elements)
    });
    assert_eq!(found.collect::<Vec<_>>(), expected);
}
