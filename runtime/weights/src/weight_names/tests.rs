//! Matching of names, on made-up ones.

use super::*;

const ENCODER: [&str; 2] = ["encoder.conv_in.conv.weight", "encoder.norm.bias"];
const DECODER: [&str; 2] = ["decoder.conv_in.conv.weight", "post_quant_conv.weight"];

/// Two halves of two tensors each, [2] but for what they are in `found`.
fn expected() -> Vec<ExpectedHalf> {
    let tensors = |names: [&str; 2]| names.map(|name| (name.to_owned(), Dims::from_slice(&[2]))).to_vec();
    vec![ExpectedHalf::new("encoder", tensors(ENCODER)), ExpectedHalf::new("decoder", tensors(DECODER))]
}

fn find_in(names: &[String]) -> Result<Names, Fault> {
    let present: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), &[2usize][..])).collect();
    find(&present, &expected(), &[])
}

/// All four names, each made into the checkpoint's by `rename`.
fn renamed(rename: impl Fn(&str) -> String) -> Vec<String> {
    ENCODER.into_iter().chain(DECODER).map(rename).collect()
}

#[test]
fn any_prefix_and_any_wrapper_is_found() {
    let after = |component: &'static str, inserted: &'static str| {
        move |name: &str| name.replace(&format!("{component}."), &format!("{component}.{inserted}."))
    };
    let cases: [(&str, Vec<String>, &str); 12] = [
        ("", renamed(str::to_owned), ""),
        ("module", renamed(|name| format!("module.{name}")), "under `module.`"),
        ("module", renamed(|name| format!("module._orig_mod.{name}")), "under `module.`, without `_orig_mod` in"),
        ("", renamed(|name| format!("_orig_mod.{name}")), "at the top, without `_orig_mod` in"),
        ("vae", renamed(|name| format!("vae.{name}")), "under `vae.`"),
        ("first_stage_model", renamed(|name| format!("first_stage_model.{name}")), "under `first_stage_model.`"),
        ("state_dict.model.vae", renamed(|name| format!("state_dict.model.vae.{name}")), "`state_dict.model.vae.`"),
        ("qqq", renamed(|name| format!("qqq/{}", name.replace('.', "/"))), "under `qqq.`"),
        ("", renamed(after("conv_in", "_fsdp_wrapped_module")), "at the top, without `_fsdp_wrapped_module` in"),
        (
            "",
            renamed(|name| format!("_fsdp_wrapped_module.{}", after("decoder", "_checkpoint_wrapped_module")(name))),
            "without `_checkpoint_wrapped_module`, `_fsdp_wrapped_module` in",
        ),
        ("", renamed(after("conv_in", "base_layer")), "without `base_layer` in"),
        ("m", renamed(|name| format!("m.{}", after("encoder", "module")(name))), "under `m.`, without `module` in"),
    ];
    for (prefix, names, said) in cases {
        let found = find_in(&names).unwrap();
        assert_eq!(found.found.keys().map(String::as_str).collect::<Vec<_>>(), {
            let mut all = [ENCODER, DECODER].concat();
            all.sort_unstable();
            all
        });
        assert!(found.found.values().all(|found| names.contains(&found.raw)));
        assert!(found.halves.iter().all(|half| half.prefix == prefix), "{names:?}: {:?}", found.halves);
        let account = found.account(0).unwrap_or_default();
        assert!(account.contains(said) && account.is_empty() == said.is_empty(), "{names:?}: {account}");
    }
}

#[test]
fn a_vae_is_found_in_a_pipeline() {
    let mut names = renamed(|name| format!("vae.{name}"));
    // A text encoder, a transformer, and an adapter whose tensor of another shape is none of the
    // model's.
    names.extend(
        ["text_encoder.encoder.norm.weight", "transformer.conv_in.conv.weight", "encoder.final"].map(Into::into),
    );
    let mut present: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), &[2usize][..])).collect();
    present.push(("vae.decoder.conv_in.lora_A.conv.weight", &[7]));
    let found = find(&present, &expected(), &[]).unwrap();
    assert_eq!(found.account(3).unwrap(), "the model's weights are those under `vae.`; 3 other tensors are not read");
    assert_eq!(found.found["encoder.norm.bias"].raw, "vae.encoder.norm.bias");
    assert!(found.is_near("vae.decoder.conv_in.lora_A.conv.weight") && !found.is_near("transformer.conv_in"));
}

#[test]
fn shapes_tell_two_models_apart() {
    let (audio, video) = (renamed(|name| format!("audio.{name}")), renamed(|name| format!("video.{name}")));
    let of = |names: &[String], shape: &'static [usize]| -> Vec<(String, &'static [usize])> {
        names.iter().map(|name| (name.clone(), shape)).collect()
    };
    let all = [of(&audio, &[3]), of(&video, &[2])].concat();
    let present: Vec<(&str, &[usize])> = all.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
    assert_eq!(find(&present, &expected(), &[]).unwrap().halves[0].prefix, "video");
}

#[test]
fn what_is_there_twice_is_refused_unless_one_has_no_prefix() {
    let both = [renamed(|name| format!("ema.{name}")), renamed(|name| format!("model.{name}"))].concat();
    let prefixes = vec!["ema".to_owned(), "model".into()];
    assert_eq!(find_in(&both).unwrap_err(), Fault::Several { half: "encoder".into(), prefixes });
    let with_top = [renamed(|name| format!("ema.{name}")), renamed(str::to_owned)].concat();
    assert_eq!(find_in(&with_top).unwrap().account(4), None);
    // A half alone beside the whole does not count.
    let decoder = DECODER.map(|name| format!("ema.{name}"));
    let found = find_in(&[renamed(|name| format!("model.{name}")), decoder.to_vec()].concat()).unwrap();
    assert!(found.halves.iter().all(|half| half.prefix == "model"));
    // Nor do an adapter's tensors beside the very name.
    let adapted = ["encoder.norm.a.bias", "encoder.norm.b.bias"].map(str::to_owned);
    let found = find_in(&[adapted.to_vec(), renamed(str::to_owned)].concat()).unwrap();
    assert_eq!((found.found["encoder.norm.bias"].raw.as_str(), found.account(0)), ("encoder.norm.bias", None));
    let twice = [renamed(str::to_owned), vec!["_orig_mod.encoder.norm.bias".into()]].concat();
    let fault = find_in(&twice).unwrap_err();
    let (first, second) = ("encoder.norm.bias".to_owned(), "_orig_mod.encoder.norm.bias".to_owned());
    let how = "without what wrappers put into their names".into();
    assert_eq!(fault, Fault::Twice { name: "encoder.norm.bias".into(), first, second, how });
}

#[test]
fn halves_may_lie_apart_or_be_missing() {
    let apart = [ENCODER.map(|name| format!("a.{name}")), DECODER.map(|name| format!("b.{name}"))].concat();
    let account = find_in(&apart).unwrap().account(0).unwrap();
    assert_eq!(account, "the encoder's weights are under `a.`, the decoder's weights are under `b.`");
    let part = find_in(&["x.decoder.conv_in.conv.weight".into()]).unwrap();
    assert_eq!(part.halves, [FoundHalf { name: "decoder".into(), prefix: "x".into(), dialect: None }]);
    assert_eq!(find_in(&["w".into()]).unwrap().account(1), None);
}

/// Two dialects of made-up authors. `old` calls `conv_in.conv` by `0` and shares the other names;
/// `older` numbers everything.
fn dialects() -> Vec<Dialect> {
    let old = Dialect::new("old", |name| match name {
        "encoder.0.weight" => Some(ENCODER[0].into()),
        "decoder.0.weight" => Some(DECODER[0].into()),
        "encoder.norm.bias" | "post_quant_conv.weight" => Some(name.into()),
        _ => None,
    });
    let older = Dialect::new("older", |name| {
        let place: usize = name.strip_prefix("layers.")?.strip_suffix(".w")?.parse().ok()?;
        [ENCODER, DECODER].concat().get(place).map(|own| (*own).into())
    });
    vec![old, older]
}

const OLD: [&str; 4] = ["encoder.0.weight", "encoder.norm.bias", "decoder.0.weight", "post_quant_conv.weight"];
const OLDER: [&str; 4] = ["layers.0.w", "layers.1.w", "layers.2.w", "layers.3.w"];

/// What is found of tensors with these names and shapes, with [`dialects`].
fn find_spelled(tensors: &[(String, Vec<usize>)]) -> Result<Names, Fault> {
    let present: Vec<(&str, &[usize])> = tensors.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
    find(&present, &expected(), &dialects())
}

/// Names under a prefix, [2] each.
fn of_shape_2(prefix: &str, names: &[&str]) -> Vec<(String, Vec<usize>)> {
    names.iter().map(|name| (format!("{prefix}{name}"), vec![2])).collect()
}

#[test]
fn a_dialect_by_which_a_half_is_whole_is_taken() {
    for (prefix, names, said) in [
        ("", OLD, "the model's weights are those at the top in old naming"),
        ("vae.", OLD, "the model's weights are those under `vae.` in old naming"),
        ("model/vae/", OLDER, "the model's weights are those under `model.vae.` in older naming"),
        (
            "_orig_mod.",
            OLDER,
            "the model's weights are those at the top in older naming, without `_orig_mod` in their names",
        ),
    ] {
        let mut tensors = of_shape_2(prefix, &names);
        tensors.push(("unet.layers.7.w".into(), vec![2]));
        let found = find_spelled(&tensors).unwrap();
        let all = [ENCODER, DECODER].concat();
        for (own, (raw, _)) in all.iter().zip(&tensors) {
            assert_eq!(found.found[*own], Found { raw: raw.clone(), seen_as: None });
        }
        assert_eq!((found.found.len(), found.account(0).as_deref()), (4, Some(said)));
    }
    let slashed = "layers/0/w".to_owned();
    assert_eq!(find_spelled(&[(slashed.clone(), vec![2])]).unwrap().found[ENCODER[0]].raw, slashed, "by dots");
}

#[test]
fn the_models_own_names_come_first_and_dialects_in_their_order() {
    let own = [ENCODER, DECODER].concat();
    let all = [of_shape_2("", &OLDER), of_shape_2("", &OLD), of_shape_2("", &own)].concat();
    // The shared names are in it twice over.
    let all: BTreeMap<String, Vec<usize>> = all.into_iter().collect();
    let all: Vec<_> = all.into_iter().collect();
    assert_eq!(find_spelled(&all).unwrap().account(0), None);
    let without = |names: &[&str]| -> Vec<_> {
        all.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect()
    };
    let account = find_spelled(&without(&[own[0], own[2]])).unwrap().account(0).unwrap();
    assert_eq!(account, "the model's weights are those at the top in old naming");
    // Each half is of the first naming by which that half is whole.
    let account = find_spelled(&without(&[own[0], OLD[0]])).unwrap().account(0).unwrap();
    assert_eq!(account, "the encoder's weights are at the top in older naming, the decoder's weights are at the top");
}

#[test]
fn a_dialect_is_taken_in_the_right_shapes_alone() {
    let mut tensors = [of_shape_2("", &OLDER), of_shape_2("x.", &OLD)].concat();
    tensors[0].1 = vec![3];
    tensors[2].1 = vec![3];
    let account = find_spelled(&tensors).unwrap().account(0).unwrap();
    assert_eq!(account, "the model's weights are those under `x.` in old naming");
    // Whole by none: most of it is shown, so that what is missing or of another shape is told by
    // the model's names.
    tensors.truncate(4);
    let found = find_spelled(&tensors).unwrap();
    assert_eq!(found.found[ENCODER[0]].raw, OLDER[0]);
    assert_eq!(found.account(0).unwrap(), "the model's weights are those at the top in older naming");
    let one = find_spelled(&of_shape_2("", &OLD[1..2])).unwrap();
    assert_eq!(one.halves, [FoundHalf { name: "encoder".into(), prefix: String::new(), dialect: None }]);
}

#[test]
fn a_dialect_is_as_certain_as_own_names() {
    let both = [of_shape_2("ema.", &OLDER), of_shape_2("model.", &OLDER)].concat();
    let prefixes = vec!["ema".to_owned(), "model".into()];
    assert_eq!(find_spelled(&both).unwrap_err(), Fault::Several { half: "encoder".into(), prefixes });
    let twice = [of_shape_2("", &OLDER), of_shape_2("", &["layers.01.w"])].concat();
    let (first, second) = ("layers.1.w".to_owned(), "layers.01.w".to_owned());
    let how = "in older naming".into();
    let fault = Fault::Twice { name: ENCODER[1].into(), first, second, how };
    assert_eq!(find_spelled(&twice).unwrap_err(), fault);
    // What an adapter puts into names is passed over in own names alone.
    let adapted = of_shape_2("", &["layers.base_layer.0.w", "layers.base_layer.1.w"]);
    assert!(find_spelled(&adapted).unwrap().found.is_empty());
}

#[test]
fn axes_of_length_1_may_differ() {
    let shapes: [&[usize]; 4] = [&[2], &[2, 1], &[1, 2, 1, 1], &[2]];
    for names in [OLD, OLDER] {
        let tensors: Vec<_> =
            names.iter().zip(shapes).map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect();
        let found = find_spelled(&tensors).unwrap();
        for (own, (raw, shape)) in [ENCODER, DECODER].concat().iter().zip(&tensors) {
            let seen_as = (*shape != [2]).then(|| Dims::from_slice(&[2]));
            assert_eq!(found.found[*own], Found { raw: raw.clone(), seen_as });
        }
    }
    // Under the model's own names a shape is part of what the model says.
    let own = [(ENCODER[0].to_owned(), vec![2, 1]), (ENCODER[1].to_owned(), vec![2])];
    let found = find(&[(&own[0].0, &own[0].1), (&own[1].0, &own[1].1)], &expected()[..1], &[]).unwrap();
    assert_eq!(found.found[ENCODER[0]], Found { raw: ENCODER[0].into(), seen_as: None });
    let fit_of = |shape: &[usize], expected: &[usize]| fit(shape, &Dims::from_slice(expected)) != Fit::No;
    assert!(fit_of(&[8, 8, 1, 1], &[8, 8]) && fit_of(&[8, 8], &[8, 8, 1, 1, 1]) && fit_of(&[1], &[]));
    assert!(fit_of(&[4, 1, 3], &[4, 3, 1]), "no element moves");
    for (shape, expected) in [(&[4, 3][..], &[3, 4][..]), (&[12], &[3, 4]), (&[2, 2], &[4]), (&[1, 0], &[1])] {
        assert!(!fit_of(shape, expected), "{shape:?} {expected:?}");
    }
    // Behind components of an adapter it is another tensor: this is a factor of rank 1.
    let adapted = [("encoder.norm.lora_A.bias".to_owned(), vec![1, 2]), (ENCODER[0].to_owned(), vec![2])];
    assert!(!find_spelled(&adapted).unwrap().found.contains_key("encoder.norm.bias"));
}

#[test]
fn a_tensor_may_be_of_both_halves() {
    let mut halves = expected();
    let shared = halves[0].tensors[1].clone();
    halves[1].tensors.push(shared);
    let present: Vec<(&str, &[usize])> =
        [ENCODER, DECODER].concat().into_iter().map(|name| (name, &[2usize][..])).collect();
    let found = find(&present, &halves, &[]).unwrap();
    assert_eq!((found.found.len(), found.halves.len(), found.account(0)), (4, 2, None));
    // Each half is whole only with it.
    let account = |prefix: &str| {
        let names: Vec<String> = present.iter().map(|(name, _)| format!("{prefix}{name}")).collect();
        let renamed: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), &[2usize][..])).collect();
        find(&[&present[..1], &renamed[..]].concat(), &halves, &[]).unwrap().account(0).unwrap()
    };
    assert_eq!(account("vae."), "the model's weights are those under `vae.`");
}
