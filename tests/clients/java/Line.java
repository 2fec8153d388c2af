import com.google.gson.Gson;
import java.util.HashMap;
import java.util.Map;

/** One line of JSON for each message that a library hands over. */
final class Line {
    private static final Gson JSON = new Gson();

    static void show(String type, String id, String data) {
        Map<String, String> line = new HashMap<>();
        line.put("type", type);
        line.put("id", id);
        line.put("data", data);
        System.out.println(JSON.toJson(line));
    }

    static void log(Object error) {
        System.err.println("reconnecting after: " + error);
    }

    private Line() {}
}
