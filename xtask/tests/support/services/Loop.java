// A small HTTP service on Java's NIO selector; /sleep blocks its only thread. Run as: java Loop.java

import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;

class Loop {
    static void serve(SocketChannel client, ByteBuffer buffer) throws Exception {
        buffer.clear();
        int length;
        try {
            length = client.read(buffer);
        } catch (java.io.IOException gone) {
            length = -1;
        }
        if (length < 0) {
            client.close();
            return;
        }
        String request = new String(buffer.array(), 0, length, StandardCharsets.US_ASCII);
        if (request.startsWith("GET /sleep")) {
            Thread.sleep(400);
        }
        client.write(ByteBuffer.wrap("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".getBytes(StandardCharsets.US_ASCII)));
    }

    public static void main(String[] arguments) throws Exception {
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open().bind(new InetSocketAddress("127.0.0.1", 0));
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        System.out.println("listening on " + listener.socket().getLocalPort());
        ByteBuffer buffer = ByteBuffer.allocate(4096);
        while (true) {
            selector.select();
            for (SelectionKey key : selector.selectedKeys()) {
                if (key.isAcceptable()) {
                    SocketChannel client = listener.accept();
                    client.configureBlocking(false);
                    client.register(selector, SelectionKey.OP_READ);
                } else {
                    serve((SocketChannel) key.channel(), buffer);
                }
            }
            selector.selectedKeys().clear();
        }
    }
}
