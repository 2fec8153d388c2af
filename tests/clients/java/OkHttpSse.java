import java.time.Duration;
import java.util.concurrent.LinkedBlockingQueue;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okhttp3.sse.EventSource;
import okhttp3.sse.EventSourceListener;
import okhttp3.sse.EventSources;

/** okhttp-sse: no reconnect of its own. When a stream closed or failed, the program opens the next with the last id. */
final class OkHttpSse extends EventSourceListener {
    private static final Object ENDED = new Object();
    private final LinkedBlockingQueue<Object> ends = new LinkedBlockingQueue<>();
    private volatile String lastId;

    public static void main(String[] arguments) throws InterruptedException {
        new OkHttpSse().run(arguments[0]);
    }

    private void run(String url) throws InterruptedException {
        // Three heartbeats (stream.heartbeat, 15s); the default of OkHttp is 10 s.
        OkHttpClient client = new OkHttpClient.Builder().readTimeout(Duration.ofSeconds(45)).build();
        EventSource.Factory factory = EventSources.createFactory(client);
        while (true) {
            Request.Builder request = new Request.Builder().url(url);
            if (lastId != null) {
                request.header("Last-Event-ID", lastId);
            }
            factory.newEventSource(request.build(), this);
            ends.take();
            Thread.sleep(1000);
        }
    }

    @Override
    public void onEvent(EventSource source, String id, String type, String data) {
        if (id != null) {
            lastId = id;
        }
        Line.show(type, id, data);
    }

    @Override
    public void onClosed(EventSource source) {
        ends.add(ENDED);
    }

    @Override
    public void onFailure(EventSource source, Throwable error, Response response) {
        Line.log(error);
        ends.add(ENDED);
    }
}
