//! Attributes of ops: the constants an op carries beside its operands, and how each kind reads as
//! text.
//!
//! Which op has which attribute is in [`crate::op`].

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::types::{Dims, ElementType, TensorType};

/// An attribute's value as text sees it: the one syntax all attributes share.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A non-negative whole number.
    Int(usize),
    /// A number with a fraction or an exponent, or a negative one.
    Float(f64),
    /// Text in double quotes.
    String(String),
    /// A bare word: a name out of a fixed set.
    Word(String),
    /// A list in brackets.
    List(Vec<Literal>),
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => write!(f, "{n}"),
            Self::Float(x) => write!(f, "{x:?}"),
            Self::String(s) => write!(f, "{s:?}"),
            Self::Word(w) => f.write_str(w),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A Rust type that can be an attribute.
pub trait Attribute: Sized {
    /// What a reader should write, for error messages and the op reference.
    const EXPECTED: &'static str;

    /// What an attribute is that is not written out, if that may be.
    const LEFT_OUT: Option<Self> = None;

    /// The value as text; `None` for an attribute that the op's result type already shows, or that
    /// is left out.
    fn to_literal(&self) -> Option<Literal>;

    /// The value from text; `None` when the text is of another kind.
    fn from_literal(literal: &Literal) -> Option<Self>;

    /// What is equal where the attributes are the same, numbers by their bits.
    fn identity(&self) -> impl Eq + Hash;

    /// The value out of the op's result type, for attributes that are not written out.
    fn from_result_type(_ty: &TensorType) -> Option<Self> {
        None
    }
}

impl Attribute for usize {
    const EXPECTED: &'static str = "a whole number";

    fn identity(&self) -> impl Eq + Hash {
        *self
    }

    fn to_literal(&self) -> Option<Literal> {
        Some(Literal::Int(*self))
    }

    fn from_literal(literal: &Literal) -> Option<Self> {
        match literal {
            Literal::Int(n) => Some(*n),
            _ => None,
        }
    }
}

impl Attribute for f64 {
    const EXPECTED: &'static str = "a number";

    fn identity(&self) -> impl Eq + Hash {
        self.to_bits()
    }

    fn to_literal(&self) -> Option<Literal> {
        Some(Literal::Float(*self))
    }

    fn from_literal(literal: &Literal) -> Option<Self> {
        match literal {
            Literal::Float(x) => Some(*x),
            Literal::Int(n) => Some(*n as f64),
            Literal::Word(w) if w == "inf" => Some(Self::INFINITY),
            Literal::Word(w) if w == "NaN" => Some(Self::NAN),
            _ => None,
        }
    }
}

impl Attribute for String {
    const EXPECTED: &'static str = "text in double quotes";

    fn identity(&self) -> impl Eq + Hash {
        self.as_str()
    }

    fn to_literal(&self) -> Option<Literal> {
        Some(Literal::String(self.clone()))
    }

    fn from_literal(literal: &Literal) -> Option<Self> {
        match literal {
            Literal::String(s) => Some(s.clone()),
            _ => None,
        }
    }
}

impl<T: Attribute, const N: usize> Attribute for [T; N] {
    const EXPECTED: &'static str = match N {
        2 => "a list of two: low, high",
        3 => "a list of three: time, height, width",
        _ => "a list of the right length",
    };

    fn identity(&self) -> impl Eq + Hash {
        self.each_ref().map(T::identity)
    }

    fn to_literal(&self) -> Option<Literal> {
        self.iter().map(T::to_literal).collect::<Option<Vec<_>>>().map(Literal::List)
    }

    fn from_literal(literal: &Literal) -> Option<Self> {
        match literal {
            Literal::List(items) => {
                items.iter().map(T::from_literal).collect::<Option<Vec<_>>>().and_then(|v| v.try_into().ok())
            }
            _ => None,
        }
    }
}

impl Attribute for Dims {
    const EXPECTED: &'static str = "a list of whole numbers";

    fn identity(&self) -> impl Eq + Hash {
        self.as_slice()
    }

    fn to_literal(&self) -> Option<Literal> {
        Some(Literal::List(self.iter().map(|&n| Literal::Int(n)).collect()))
    }

    fn from_literal(literal: &Literal) -> Option<Self> {
        match literal {
            Literal::List(items) => items.iter().map(usize::from_literal).collect(),
            _ => None,
        }
    }
}

impl Attribute for TensorType {
    const EXPECTED: &'static str = "a result type";

    fn identity(&self) -> impl Eq + Hash {
        self
    }

    fn to_literal(&self) -> Option<Literal> {
        None
    }

    fn from_literal(_literal: &Literal) -> Option<Self> {
        None
    }

    fn from_result_type(ty: &TensorType) -> Option<Self> {
        Some(ty.clone())
    }
}

/// Declares an attribute that is one name out of a fixed set.
macro_rules! word_attribute {
    ($(#[$meta:meta])* $Name:ident { $($(#[$doc:meta])* $Variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $Name { $($(#[$doc])* $Variant),+ }

        impl $Name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$Variant),+];

            /// The word in the text format.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$Variant => $word),+ }
            }
        }

        impl Attribute for $Name {
            const EXPECTED: &'static str = concat!("one of:" $(, " ", $word)+);

            fn identity(&self) -> impl Eq + Hash {
        *self
    }

    fn to_literal(&self) -> Option<Literal> {
                Some(Literal::Word(self.word().to_owned()))
            }

            fn from_literal(literal: &Literal) -> Option<Self> {
                match literal {
                    Literal::Word(w) => Self::ALL.iter().copied().find(|v| v.word() == w),
                    _ => None,
                }
            }
        }
    };
}

word_attribute! {
    /// How an op over time treats the first frame.
    ///
    /// A causal video model encodes its first frame as an image: where the number of frames is odd,
    /// that frame is resized or pooled by itself and the rest as pairs.
    FirstFrame {
        /// As every other frame.
        Joined = "joined",
        /// By itself: frame 0 of the result is made of frame 0 of the operand alone.
        Apart = "apart",
    }
}

word_attribute! {
    /// What a pad puts around a tensor.
    PadMode {
        /// Zeros.
        Zero = "zero",
        /// The nearest element of the tensor.
        Edge = "edge",
        /// The tensor mirrored at its outermost element, which stands once.
        Reflect = "reflect",
    }
}

/// What stands in a convolution's padding of time, height and width; zeros, if it is not written
/// out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Border(pub [PadMode; 3]);

impl Border {
    /// Zeros on all sides.
    pub const ZERO: Self = Self([PadMode::Zero; 3]);
}

impl Attribute for Border {
    const EXPECTED: &'static str =
        "nothing for zeros, or a list of three out of zero, edge and reflect: time, height, width";
    const LEFT_OUT: Option<Self> = Some(Self::ZERO);

    fn identity(&self) -> impl Eq + Hash {
        *self
    }

    fn to_literal(&self) -> Option<Literal> {
        if *self == Self::ZERO { None } else { self.0.to_literal() }
    }

    fn from_literal(literal: &Literal) -> Option<Self> {
        <[PadMode; 3]>::from_literal(literal).map(Self)
    }
}

word_attribute! {
    /// By what a channel norm divides the C channels x of a position.
    ChannelNormKind {
        /// Their root mean square, `sqrt(mean(x^2) + epsilon)`.
        Rms = "rms",
        /// Their Euclidean norm over `sqrt(C)`, which epsilon is the least of: `max(sqrt(sum(x^2)),
        /// epsilon) / sqrt(C)`.
        L2 = "l2",
        /// Their standard deviation, `sqrt(variance + epsilon)`, when the mean was subtracted.
        Layer = "layer",
    }
}

word_attribute! {
    /// A function of one number.
    UnaryFunction {
        /// The hyperbolic tangent.
        Tanh = "tanh",
        /// `1 / (1 + exp(-x))`.
        Sigmoid = "sigmoid",
        /// The sine of an angle in radians.
        Sine = "sine",
        /// The cosine of an angle in radians.
        Cosine = "cosine",
    }
}

word_attribute! {
    /// A function applied to each element of a fused op's result.
    Activation {
        /// The identity.
        None = "none",
        /// `x * sigmoid(x)`.
        Silu = "silu",
    }
}

/// Which keys a query of an attention sees. Where there are more keys than queries, the others
/// stand in front: the last query is at the place of the last key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionMask {
    /// All.
    None,
    /// Those of its own frame and of earlier ones, frames having so many tokens; with one, those up
    /// to its own place.
    Causal(usize),
}

impl AttentionMask {
    /// How many keys the query at this place sees, of so many queries and keys: the first ones.
    pub const fn seen(self, query: usize, queries: usize, keys: usize) -> usize {
        match self {
            Self::None => keys,
            Self::Causal(tokens) => ((keys - queries + query) / tokens + 1) * tokens,
        }
    }

    /// Pairs of a query and a key that it sees.
    pub fn pairs(self, queries: usize, keys: usize) -> u64 {
        let (queries, keys) = (queries as u64, keys as u64);
        match self {
            Self::None => queries.saturating_mul(keys),
            // Frames of queries see one frame more each, the last of them all keys.
            Self::Causal(tokens) => {
                let less = (queries / tokens as u64).saturating_sub(1).saturating_mul(tokens as u64);
                // The mean of what the first frame and the last one see.
                queries.saturating_mul(2 * keys - less) / 2
            }
        }
    }
}

impl Attribute for AttentionMask {
    const EXPECTED: &'static str = "one of: none causal, or [causal, tokens of a frame]";

    fn identity(&self) -> impl Eq + Hash {
        *self
    }

    fn to_literal(&self) -> Option<Literal> {
        let causal = Literal::Word("causal".to_owned());
        Some(match self {
            Self::None => Literal::Word("none".to_owned()),
            Self::Causal(1) => causal,
            Self::Causal(tokens) => Literal::List(vec![causal, Literal::Int(*tokens)]),
        })
    }

    fn from_literal(literal: &Literal) -> Option<Self> {
        match literal {
            Literal::Word(word) if word == "none" => Some(Self::None),
            Literal::Word(word) if word == "causal" => Some(Self::Causal(1)),
            Literal::List(items) => match items.as_slice() {
                [Literal::Word(word), Literal::Int(tokens)] if word == "causal" => Some(Self::Causal(*tokens)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Attribute for ElementType {
    const EXPECTED: &'static str = "one of: f32 bf16 f16 i8 i32";

    fn identity(&self) -> impl Eq + Hash {
        *self
    }

    fn to_literal(&self) -> Option<Literal> {
        Some(Literal::Word(self.name().to_owned()))
    }

    fn from_literal(literal: &Literal) -> Option<Self> {
        match literal {
            Literal::Word(w) => w.parse().ok(),
            _ => None,
        }
    }
}

/// Elements of a constant, row-major, as f64 whatever the element type. Equal if their bits are.
#[derive(Clone, Debug)]
pub enum Elements {
    /// One value everywhere.
    Splat(f64),
    /// One value an element.
    Dense(Arc<[f64]>),
}

impl Elements {
    /// Whether it is one value everywhere, and the values.
    fn values(&self) -> (bool, &[f64]) {
        match self {
            Self::Splat(x) => (true, std::slice::from_ref(x)),
            Self::Dense(xs) => (false, xs),
        }
    }
}

impl PartialEq for Elements {
    fn eq(&self, other: &Self) -> bool {
        let ((splat, xs), (other_splat, others)) = (self.values(), other.values());
        splat == other_splat && xs.iter().map(|x| x.to_bits()).eq(others.iter().map(|x| x.to_bits()))
    }
}

impl Eq for Elements {}

impl Hash for Elements {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (splat, xs) = self.values();
        (splat, xs.len()).hash(state);
        xs.iter().for_each(|x| x.to_bits().hash(state));
    }
}

impl Attribute for Elements {
    const EXPECTED: &'static str = "a number, or a list of one number an element";

    fn identity(&self) -> impl Eq + Hash {
        self
    }

    fn to_literal(&self) -> Option<Literal> {
        Some(match self {
            Self::Splat(x) => Literal::Float(*x),
            Self::Dense(xs) => Literal::List(xs.iter().map(|&x| Literal::Float(x)).collect()),
        })
    }

    fn from_literal(literal: &Literal) -> Option<Self> {
        match literal {
            Literal::List(items) => {
                items.iter().map(f64::from_literal).collect::<Option<Arc<[f64]>>>().map(Self::Dense)
            }
            number => f64::from_literal(number).map(Self::Splat),
        }
    }
}
