import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.util.zip.GZIPInputStream;

/**
 * HttpClient neither asks for gzip nor decodes. The program does both, and reads the bytes of a GZIPInputStream (`bytes`),
 * or it asks for no compression and reads lines (`identity`).
 *
 * Lines of a GZIPInputStream do not work: an InputStreamReader asks available() whether it may go on, which is 1 up to the
 * end, so it waits until its 8 KiB are full.
 */
final class DecodeHttpClient {
    public static void main(String[] arguments) throws Exception {
        boolean compressed = arguments[0].equals("bytes");
        String coding = compressed ? "gzip" : "identity";
        HttpRequest request =
                HttpRequest.newBuilder(URI.create(arguments[1])).header("Accept-Encoding", coding).build();
        HttpResponse<InputStream> response =
                HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofInputStream());
        if (!response.headers().firstValue("Content-Encoding").orElse("identity").equals(coding)) {
            throw new IOException("it is not " + coding);
        }
        if (compressed) {
            new GZIPInputStream(response.body()).transferTo(System.out);
        } else {
            BufferedReader lines =
                    new BufferedReader(new InputStreamReader(response.body(), StandardCharsets.UTF_8));
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                System.out.println(line);
            }
        }
    }
}
