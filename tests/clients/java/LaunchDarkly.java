import com.launchdarkly.eventsource.ConnectStrategy;
import com.launchdarkly.eventsource.ErrorStrategy;
import com.launchdarkly.eventsource.EventSource;
import com.launchdarkly.eventsource.MessageEvent;
import com.launchdarkly.eventsource.RetryDelayStrategy;
import java.net.URI;
import java.util.concurrent.TimeUnit;

/** LaunchDarkly's okhttp-eventsource: comes back by itself with an error strategy that goes on. */
final class LaunchDarkly {
    public static void main(String[] arguments) throws Exception {
        EventSource.Builder builder =
                new EventSource.Builder(ConnectStrategy.http(URI.create(arguments[0])))
                        .errorStrategy(ErrorStrategy.alwaysContinue())
                        // A stream that ends within a minute doubles the delay, by default up to 30 s.
                        .retryDelayStrategy(RetryDelayStrategy.defaultStrategy().maxDelay(4, TimeUnit.SECONDS));
        try (EventSource source = builder.build()) {
            for (MessageEvent event : source.messages()) {
                Line.show(event.getEventName(), event.getLastEventId(), event.getData());
            }
        }
    }
}
