//! What every broker promises: one suite, run against each; and what only Redis can do wrong.
//!
//! # Layout
//!
//! - `fixture`: the brokers under test, and the hands that publishers, operators and time have
//! - `events`, `subscribers`, `sessions`, `silences`, `grace`, `merging`, `presence`, `nodes`, `backlog`, `intake`, `dead_letters`, `revocations`, `tickets`, `acks`, `streams`: the contracts
//! - `fcall`, `fcall_append`: the function library, called by other programs
//! - `faults`: Redis goes away, comes back, forgets, stops
//! - `types`: keys that hold something else than they should
//! - `bounded`: how long our scripts hold Redis

mod acks;
mod backlog;
mod bounded;
mod dead_letters;
mod events;
mod faults;
mod fcall;
mod fcall_append;
mod fixture;
mod grace;
mod intake;
mod merging;
mod nodes;
mod presence;
mod revocations;
mod sessions;
mod silences;
mod streams;
mod subscribers;
mod tickets;
mod types;

/// Runs each contract against both brokers.
macro_rules! contracts {
    ($($topic:ident: $($contract:ident),+ $(,)?;)+) => {
        mod memory {
            $(mod $topic {
                $(#[tokio::test(start_paused = true)]
                async fn $contract() {
                    crate::$topic::$contract::<crate::fixture::Memory>().await;
                })+
            })+
        }
        mod redis {
            $(mod $topic {
                $(#[tokio::test]
                async fn $contract() {
                    crate::$topic::$contract::<crate::fixture::Redis>().await;
                })+
            })+
        }
    };
}

contracts! {
    events:
        an_event_is_read_as_it_was_published,
        the_session_that_does_not_get_an_event_is_kept_with_it_by_every_way_in,
        the_trace_of_an_event_is_in_its_live_message_by_every_way_in,
        positions_grow_and_each_entry_knows_the_one_before,
        a_batch_keeps_its_order_and_is_answered_in_it,
        a_key_stores_an_event_once_in_its_channel,
        a_key_is_forgotten_after_its_time,
        an_ephemeral_event_is_not_kept,
        pages_lead_through_a_log,
        a_trimmed_log_tells_whether_something_was_missed,
        the_chain_outlives_the_events,
        a_wiped_channel_begins_again,
        a_log_keeps_at_least_as_many_events_as_it_should,
        what_is_too_old_is_not_shown,
        a_last_position_is_forgotten_after_its_time,
        a_rule_decides_what_is_kept_of_a_channel,
        an_empty_channel_is_located_at_zero,
        the_newest_and_the_earliest_are_located_before_the_oldest_meant,
        a_time_is_located_at_the_last_entry_before_it,
        a_time_before_what_is_kept_is_located_so_that_the_gap_is_reported,
        a_channel_without_events_is_located_at_its_last_position,
        a_page_is_bounded_in_bytes_whatever_the_sizes,
        a_page_is_the_same_whatever_is_expected,
        a_page_tells_the_channels_last_position,
        nothing_comes_after_the_greatest_position,
        the_newest_are_bounded_in_bytes_too,
        only_the_first_event_makes_a_channel_and_a_publisher_may_be_kept_from_it;
    subscribers:
        what_is_published_after_the_confirmation_arrives,
        an_ephemeral_event_arrives,
        a_channel_that_is_not_subscribed_has_no_messages,
        subscribing_again_replaces_the_ticket,
        a_command_arrives_at_its_node_only,
        every_wire_hears_every_event,
        a_closed_wire_tells_nothing_more;
    acks:
        a_position_is_acknowledged_for_its_reader_only,
        a_position_never_moves_backwards,
        acknowledgements_from_two_nodes_keep_the_greatest,
        a_position_ahead_of_the_clock_does_not_stay,
        a_reader_keeps_its_greatest_positions,
        the_readers_of_a_user_are_bounded_and_the_longest_silent_goes,
        acknowledged_positions_are_forgotten_after_their_time,
        receipts_are_bounded;
    streams:
        bytes_are_read_as_they_were_appended,
        a_stream_is_created_once,
        a_stream_whose_producer_is_silent_ends_as_an_error,
        appends_and_creating_it_again_renew_a_lease,
        bytes_that_a_failover_lost_are_never_mixed_up_with_those_in_their_place,
        nothing_is_appended_after_the_end,
        the_checks_of_an_append_have_an_order,
        a_producer_appends_in_order_and_once,
        a_producer_that_ends_a_stream_may_repeat_it,
        reads_and_writes_let_a_stream_live_on,
        a_stream_ends_at_its_time_and_without_one_after_it_was_left,
        readers_are_woken_by_every_change,
        a_stream_that_is_created_again_has_other_offsets,
        a_fork_begins_with_the_bytes_of_its_source,
        a_sub_offset_counts_messages_of_json,
        a_deleted_source_holds_its_name_until_its_last_fork_is_gone,
        a_fork_that_expired_does_not_hold_its_source,
        forks_of_a_source_are_bounded,
        all_streams_are_listed_in_pages;
    sessions:
        the_first_claim_brings_a_user_online,
        a_claim_finds_the_tip_of_the_users_channel,
        a_claim_moves_a_session_and_tells_its_old_owner,
        a_node_that_claims_its_own_session_again_is_not_notified,
        the_limit_holds_over_all_nodes_and_counts_no_session_twice,
        only_the_owner_with_its_epoch_gives_a_session_up,
        a_claim_that_was_forgotten_is_given_up_with_the_older_one,
        an_epoch_grows_also_over_a_release,
        sessions_are_listed_oldest_first,
        a_session_id_belongs_to_each_of_two_users_by_itself,
        renewing_changes_nothing_for_a_session_that_is_held,
        renewing_tells_what_is_lost,
        renewing_restores_what_is_gone,
        renewing_restores_a_claim_that_was_forgotten,
        a_claim_keeps_the_beginning_and_grows_beyond_a_clock_that_went_back;
    silences:
        two_connections_that_are_lost_after_about_the_same_silence_tell_it,
        a_page_that_is_loaded_again_has_not_lost_its_connection,
        a_release_that_is_repeated_counts_as_one_loss,
        a_connection_that_was_superseded_may_have_been_lost,
        a_silence_is_forgotten_after_its_time_and_one_loss_recalls_it,
        the_sessions_whose_silences_are_kept_are_bounded;
    grace:
        a_user_who_comes_back_within_the_grace_was_never_offline,
        a_user_who_stays_away_is_offline_after_the_grace,
        a_session_of_a_leaving_node_waits_for_another,
        a_session_that_no_node_takes_over_ends_with_the_grace,
        sessions_that_wait_do_not_count_against_the_limit,
        the_long_polls_of_a_session_are_reported_as_one_session,
        a_long_poll_is_no_move_before_the_release_of_the_last_one,
        a_session_that_is_not_polled_again_ends_with_the_grace,
        sessions_of_long_polls_count_against_the_limit;
    nodes:
        a_lease_belongs_to_one_process,
        a_node_that_left_is_not_listed_and_its_name_is_free,
        nodes_are_listed_by_name_as_they_last_said,
        the_sessions_of_a_dead_node_are_swept_and_reported,
        what_moved_away_in_time_is_not_swept,
        one_node_sweeps_at_a_time,
        a_node_that_left_is_swept_clean,
        a_node_that_came_back_in_time_keeps_its_sessions,
        what_an_earlier_process_of_the_name_left_is_swept,
        what_an_earlier_process_left_is_swept_also_when_its_successor_leaves,
        a_successor_that_came_back_in_time_keeps_its_sessions,
        a_session_of_an_unknown_node_is_swept;
    revocations:
        revocations_are_read_in_order_from_a_position_on,
        revocations_are_appended_together_or_not_at_all,
        old_revocations_make_room;
    tickets:
        one_of_many_first_uses_gets_the_ticket,
        a_used_ticket_reopens_its_session_only,
        a_look_changes_nothing,
        a_first_use_is_undone_unless_the_ticket_was_used_again,
        a_ticket_ends_unused_soon_and_used_later,
        a_users_tickets_are_bounded_and_used_ones_make_room,
        a_ticket_belongs_to_its_user;
    merging:
        a_user_who_comes_and_goes_does_not_fill_the_lifecycle_stream,
        what_was_merged_is_right_at_the_end,
        a_user_who_left_while_events_were_merged_is_offline_at_the_end;
    presence:
        sessions_and_users_of_a_channel_are_counted_and_users_listed,
        a_channel_is_occupied_with_its_first_session_and_vacated_after_the_grace,
        without_a_grace_a_channel_is_vacated_at_once,
        a_channel_that_is_followed_again_within_the_grace_was_never_vacated,
        a_session_that_moves_keeps_its_channels_occupied,
        a_session_that_no_node_takes_over_leaves_its_channels,
        a_session_of_a_dead_node_leaves_its_channels,
        a_claim_with_other_channels_replaces_those_of_the_session,
        renewing_restores_the_channels_of_what_is_gone,
        channels_beyond_the_rate_of_a_user_are_reported_by_the_check,
        whatever_happens_presence_is_that_of_a_model;
    backlog:
        users_who_leave_together_are_reported_offline_in_full_steps,
        the_sessions_of_a_killed_node_are_swept_in_full_steps,
        sessions_that_wait_for_another_node_end_in_full_steps;
    dead_letters:
        an_entry_is_requeued_once_with_all_its_fields,
        an_entry_that_is_requeued_is_published_after_newer_ones,
        a_truncated_entry_is_shown_and_dropped_and_not_requeued,
        pages_of_dead_letters_are_bounded_in_number_and_bytes;
    intake:
        entries_are_taken_once_and_in_order,
        entries_left_before_anybody_asked_are_taken,
        what_is_not_settled_is_taken_again_in_its_place,
        only_the_leader_reads_and_a_former_one_takes_nothing_away,
        a_call_that_waits_ends_with_its_reading,
        what_cannot_be_published_goes_to_the_dead_with_the_reason,
        of_a_dead_entry_that_is_too_large_a_part_is_kept,
        entries_published_twice_land_once,
        ids_are_compared_as_numbers_of_any_length,
        an_entry_is_held_up_by_the_one_before_it,
        an_entry_whose_time_is_over_is_dropped_and_the_chain_goes_on,
        a_key_of_its_own_stores_an_entry_once_and_the_chain_goes_on,
        other_ways_in_leave_the_mark_as_it_is,
        a_recreated_stream_begins_with_smaller_ids,
        a_stream_whose_ids_are_far_ahead_begins_again_when_it_is_empty,
        taking_waits_for_the_first_entry,
        taking_does_not_wait_for_ever,
        one_node_leads_at_a_time;
}
