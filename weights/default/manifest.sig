a1+LiDh3j6Db4H+dn4J7n3t/svdwdmt8Qwkgu/ds4k6vI7Bm9eE4P+/lsyd4SVyKaDt4QvWG7YX+9t5JRSOjDg==
