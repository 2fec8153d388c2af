//! Pipelines of session scripts: how many calls each has.

/// Maximum number of channels whose presence a pipeline changes; a single session may have more. Redis may run a pipeline without
/// serving others in between, and each channel costs it several commands.
pub(super) const MAX_CHANNELS: usize = 512;

/// Divides items into those of each pipeline: at most `most`, with a bounded number of channels.
pub(super) fn pipelines<T>(
    items: &[T],
    most: usize,
    channels: impl Fn(&T) -> usize,
) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let mut sum = 0_usize;
        let fits = |item: &&T| {
            sum = sum.saturating_add(channels(item));
            sum <= MAX_CHANNELS
        };
        let count = rest.iter().take(most).take_while(fits).count();
        let (pipeline, others) = rest.split_at(count.max(1).min(rest.len()));
        rest = others;
        (!pipeline.is_empty()).then_some(pipeline)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_has_a_bounded_number_of_items_and_channels() {
        let sizes = |channels: &[usize]| -> Vec<usize> {
            let all: Vec<_> = pipelines(channels, 250, |&channels| channels).collect();
            assert_eq!(all.concat(), channels, "each once, in order");
            all.iter().map(|pipeline| pipeline.len()).collect()
        };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[0; 600]), [250, 250, 100]);
        assert_eq!(sizes(&[256; 7]), [2, 2, 2, 1]);
        assert_eq!(sizes(&[250, 262, 0, MAX_CHANNELS + 1, 1]), [3, 1, 1]);
    }
}
