import io.grpc.CallOptions;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.ClientCalls;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;

/**
 * Calls /echo.Echo/Say on the target given, again and again, with grpc-java's own xDS client.
 *
 * <p>Each line of output is one call as JSON: {"name": who answered} or {"error": what failed}. It goes on until its
 * standard input is closed.
 */
public final class Caller {
  private static final long CALL_SECONDS = 10;
  private static final long PAUSE_MILLIS = 5;

  private static final MethodDescriptor.Marshaller<byte[]> BYTES =
      new MethodDescriptor.Marshaller<>() {
        @Override
        public InputStream stream(byte[] value) {
          return new ByteArrayInputStream(value);
        }

        @Override
        public byte[] parse(InputStream stream) {
          try {
            return stream.readAllBytes();
          } catch (IOException error) {
            throw new UncheckedIOException(error);
          }
        }
      };

  private static final MethodDescriptor<byte[], byte[]> SAY =
      MethodDescriptor.newBuilder(BYTES, BYTES)
          .setType(MethodType.UNARY)
          .setFullMethodName("echo.Echo/Say")
          .build();

  public static void main(String[] arguments) throws InterruptedException {
    Thread reader = new Thread(Caller::exitAtEndOfInput);
    reader.setDaemon(true);
    reader.start();
    ManagedChannel channel = Grpc.newChannelBuilder(arguments[0], InsecureChannelCredentials.create()).build();
    boolean first = true;
    while (true) {
      // Only the first call waits until there is a list; from then on a call that finds nobody fails.
      CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(CALL_SECONDS, TimeUnit.SECONDS);
      System.out.println(call(channel, first ? options.withWaitForReady() : options));
      System.out.flush();
      first = false;
      Thread.sleep(PAUSE_MILLIS);
    }
  }

  private static String call(ManagedChannel channel, CallOptions options) {
    try {
      byte[] name = ClientCalls.blockingUnaryCall(channel, SAY, options, new byte[0]);
      return line("name", new String(name, StandardCharsets.UTF_8));
    } catch (StatusRuntimeException error) {
      return line("error", error.getStatus().getCode() + " " + error.getStatus().getDescription());
    }
  }

  private static String line(String key, String value) {
    StringBuilder text = new StringBuilder("{\"").append(key).append("\": \"");
    for (char each : value.toCharArray()) {
      text.append(each < ' ' || each > '~' || each == '"' || each == '\\' ? String.format("\\u%04x", (int) each) : each);
    }
    return text.append("\"}").toString();
  }

  private static void exitAtEndOfInput() {
    try {
      System.in.readAllBytes();
    } catch (IOException error) {
      // The other end is gone, which is an end too.
    }
    Runtime.getRuntime().halt(0);
  }
}
