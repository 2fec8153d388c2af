import java.io.IOException;
import java.time.Duration;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.Response;
import okio.BufferedSource;

/** OkHttp asks for gzip by itself, and decodes. */
final class DecodeOkHttp {
    public static void main(String[] arguments) throws IOException {
        OkHttpClient client = new OkHttpClient.Builder().readTimeout(Duration.ofSeconds(45)).build();
        Request request = new Request.Builder().url(arguments[0]).build();
        try (Response response = client.newCall(request).execute()) {
            BufferedSource body = response.body().source();
            for (String line = body.readUtf8Line(); line != null; line = body.readUtf8Line()) {
                System.out.println(line);
            }
        }
    }
}
